"""The ledger of a host: workers that share a machine do not reserve it twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.executors.procfs import read_stat
from penstock.worker.supervisor.host_ledger import HostLedger
from penstock.worker.supervisor.host_records import Record

MIB = 2**20
POOL = 1_000 * MIB


class Host:
    """Ledgers of made-up workers on one file; `dead` ones are told from the others."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ledger"
        self.dead: set[int] = set()

    def worker(self, pid: int) -> HostLedger:
        """Return the ledger of a worker."""
        return HostLedger(self.file, Record(pid, 1), is_alive=lambda one: one.pid not in self.dead)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without workers."""
    return Host(tmp_path)


def test_two_workers_share_one_pool(host: Host) -> None:
    """What one has reserved the other cannot have, until it is given back."""
    one, other = host.worker(1), host.worker(2)
    assert one.take(700 * MIB, pool_bytes=POOL)
    assert other.others_bytes() == 700 * MIB
    assert not other.take(301 * MIB, pool_bytes=POOL)
    assert other.take(300 * MIB, pool_bytes=POOL)
    one.note(100 * MIB)
    assert other.take(900 * MIB, pool_bytes=POOL)
    assert not one.take(101 * MIB, pool_bytes=POOL)
    other.close()
    assert one.take(POOL, pool_bytes=POOL)
    one.close()


def test_the_dead_hold_nothing(host: Host) -> None:
    """A worker that was killed could not give back what it had."""
    one, other = host.worker(1), host.worker(2)
    one.take(POOL, pool_bytes=POOL)
    one.hold_gate(5)
    assert not other.take(1, pool_bytes=POOL)
    host.dead.add(1)
    assert other.take(POOL, pool_bytes=POOL)
    assert other.hold_gate(5)
    one.close()
    other.close()


def test_one_worker_at_a_time_holds_the_gate(host: Host) -> None:
    """The others go on, but leave it what it wants; two would wait for each other."""
    one, other = host.worker(1), host.worker(2)
    one.take(200 * MIB, pool_bytes=POOL)
    assert one.hold_gate(500 * MIB)
    assert not other.hold_gate(100 * MIB)
    assert not other.take(301 * MIB, pool_bytes=POOL)
    assert other.take(300 * MIB, pool_bytes=POOL)
    one.open_gate()
    assert other.take(800 * MIB, pool_bytes=POOL)
    assert other.hold_gate(0)
    one.close()
    other.close()


def test_what_is_to_spare_is_given_up_when_others_ask(host: Host) -> None:
    """It counts for the others, and not for the worker that has it."""
    one, other = host.worker(1), host.worker(2)
    assert one.take(300 * MIB, pool_bytes=POOL, spare_bytes=600 * MIB)
    assert (other.others_bytes(), other.others_spare_bytes()) == (900 * MIB, 600 * MIB)
    assert not other.take(101 * MIB, pool_bytes=POOL)
    assert one.take(900 * MIB, pool_bytes=POOL, spare_bytes=600 * MIB)
    assert not one.is_asked
    other.ask(asks=True)
    assert one.is_asked
    assert not other.is_asked
    one.note(300 * MIB)
    assert other.take(700 * MIB, pool_bytes=POOL)
    other.ask(asks=False)
    assert not one.is_asked
    other.ask(asks=True)
    host.dead.add(2)
    one.look_after()
    assert not one.is_asked
    one.close()
    other.close()


def test_nobody_waits_for_a_worker_that_stands_still_in_the_lock(host: Host) -> None:
    """There is no room as long as it holds it; what changed is written later."""
    one, other = host.worker(1), host.worker(2)
    one.take(200 * MIB, pool_bytes=POOL)
    with other._records.locked() as is_locked:
        assert is_locked
        began_s = time.monotonic()
        assert not one.take(300 * MIB, pool_bytes=POOL)
        one.note(100 * MIB)
        assert time.monotonic() - began_s < 1.0
    assert other.others_bytes() == 200 * MIB
    one.look_after()
    assert other.others_bytes() == 100 * MIB
    one.close()
    other.close()


def test_a_file_that_was_removed_is_made_again(host: Host) -> None:
    """Else those who come later would not see who was there before."""
    one = host.worker(1)
    one.take(700 * MIB, pool_bytes=POOL)
    host.file.unlink()
    later = host.worker(2)
    assert later.take(POOL, pool_bytes=POOL)
    later.note(0)
    one.look_after()
    assert later.others_bytes() == 700 * MIB
    one.close()
    later.close()


def test_a_worker_that_found_the_lock_held_joins_later(host: Host) -> None:
    """What it has reserved meanwhile counts from then on."""
    one = host.worker(1)
    one.take(200 * MIB, pool_bytes=POOL)
    with one._records.locked() as is_locked:
        assert is_locked
        late = host.worker(2)
        assert late.take(700 * MIB, pool_bytes=POOL)
        late.look_after()
    assert one.others_bytes() == 0
    late.look_after()
    assert one.others_bytes() == 700 * MIB
    assert not late.take(900 * MIB, pool_bytes=POOL)
    one.close()
    late.close()
    assert not host.file.exists()


def test_a_worker_that_begins_anew_takes_the_place_of_its_former_self(host: Host) -> None:
    """Its process lives, so nobody else would drop what the former one could not give back."""
    former, other = host.worker(1), host.worker(2)
    former.take(POOL, pool_bytes=POOL)
    former.hold_gate(5)
    later = host.worker(1)
    assert other.others_bytes() == 0
    assert other.take(POOL, pool_bytes=POOL)
    assert other.hold_gate(5)
    later.close()
    other.close()


def test_a_host_may_have_more_workers_than_records(host: Host) -> None:
    """Those above reserve as if they were alone, and say so in the log, until one leaves."""
    workers = [host.worker(1 + number) for number in range(65)]
    assert workers[0].take(POOL, pool_bytes=POOL)
    assert not workers[63].take(1, pool_bytes=POOL)
    assert workers[64].take(POOL, pool_bytes=POOL)
    workers[3].close()
    workers[64].look_after()
    assert workers[0].others_bytes() == POOL
    for one in workers:
        one.close()
    assert not host.file.exists()
    again = host.worker(7)
    assert again.others_bytes() == 0
    again.close()


def test_the_last_worker_removes_the_file(host: Host) -> None:
    """Also one whose neighbour was killed; whoever comes just then makes a new one."""
    one, killed = host.worker(1), host.worker(2)
    one.close()
    assert host.file.exists()
    host.dead.add(2)
    last = host.worker(3)
    last.close()
    assert not host.file.exists()
    killed.close()
    first, second = host.worker(4), host.worker(5)
    assert first.take(POOL, pool_bytes=POOL)
    assert not second.take(1, pool_bytes=POOL)
    first.close()
    second.close()


def test_workers_that_come_and_go_at_once_keep_one_file(tmp_path: Path) -> None:
    """None of them is left alone on a file that was removed: what all reserve adds up."""
    host, rounds = Host(tmp_path), 40
    over: list[int] = []
    held, lock = [0], threading.Lock()

    def come_and_go(pid: int) -> None:
        for number in range(rounds):
            with host.worker(1 + pid * rounds + number) as ledger:
                if not ledger.take(POOL, pool_bytes=POOL):
                    continue
                with lock:
                    held[0] += 1
                    over.append(held[0])
                with lock:
                    held[0] -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(come_and_go, range(4)))
    assert max(over) == 1
    assert not host.file.exists()


def test_without_a_file_nothing_is_shared(tmp_path: Path) -> None:
    """A folder that others can write to, or a link, keeps no worker from working."""
    elsewhere, common = tmp_path / "elsewhere", tmp_path / "common"
    (tmp_path / "link").symlink_to(elsewhere)
    common.mkdir()
    common.chmod(0o777)
    for file in (None, common / "ledger", tmp_path / "link"):
        with HostLedger(file, Record(1, 1), is_alive=lambda _: True) as ledger:
            assert ledger.take(POOL, pool_bytes=1)
            assert ledger.hold_gate(1)
            assert ledger.others_bytes() == 0
    assert not elsewhere.exists()


def test_processes_see_each_other(tmp_path: Path) -> None:
    """The real thing: another process, which is killed, by the kernel's own word about it."""
    file = tmp_path / "ledger"
    program = f"""
import os, sys, time
from pathlib import Path
from penstock.executors.procfs import read_stat
from penstock.worker.supervisor.host_ledger import HostLedger
from penstock.worker.supervisor.host_records import Record
ticks = read_stat(os.getpid()).started_ticks
ledger = HostLedger(Path({str(file)!r}), Record(os.getpid(), ticks), is_alive=lambda _: True)
ledger.take({POOL}, pool_bytes={POOL})
print("taken", flush=True)
time.sleep(600)
"""

    def is_alive(one: Record) -> bool:
        stat = read_stat(one.pid)
        return stat is not None and stat.started_ticks == one.started_ticks

    stat = read_stat(os.getpid())
    assert stat is not None
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        own = Record(os.getpid(), stat.started_ticks)
        with HostLedger(file, own, is_alive=is_alive) as ledger:
            assert not ledger.take(1, pool_bytes=POOL)
            process.kill()
            process.wait()
            assert ledger.take(POOL, pool_bytes=POOL)
