"""Control groups for memory, on the kernel that is here: what they count, what they stop.

`make cgroups` runs this, and `make proof AREA=faults` where groups can be made. It is no part of
`make test`, which must run where none can: its name keeps it from being collected there, so that
nothing is skipped. Workers use groups in all their tests where they can, and watch where not.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.broker.clock import SystemClock
from penstock.core.job import Reason
from penstock.core.memory import hard_limit_bytes
from penstock.executors.cgroups import Place, own_group
from penstock.executors.memory import group_bytes
from penstock.executors.procfs import read_stat
from penstock.worker.supervisor.groups import Groups, sweep
from penstock.worker.supervisor.identity import Identity
from tests.support import memory_app as tasks
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.grouped import MIB, Home, divided_place, grouped, home_in
from tests.support.supervised import SOON_S, Supervised

APP = "tests.support.memory_app:app"
#: Bytes by which figures may differ: batches of charges on each CPU, and what Python itself takes.
NEAR = 4 * MIB


@pytest.fixture(scope="module")
def place() -> Place:
    """Where the tests make their groups."""
    return divided_place()


@pytest.fixture
def home(place: Place) -> Iterator[Home]:
    """Where the workers of a test make theirs."""
    with home_in(place) as found:
        yield found


def test_a_short_peak_is_not_missed(place: Place) -> None:
    """What is gone before anybody looks is in the mark, and the next attempt begins without it."""
    with grouped(place) as one:
        assert one.begin()
        one.do("held = bytearray(b'x') * (64 * MIB); del held")
        taken = one.group.end()
        assert abs(taken.peak_bytes - taken.baseline_bytes - 64 * MIB) < NEAR, taken
        assert one.begin()
        one.do("pass")
        after = one.group.end()
        assert after.peak_bytes - after.baseline_bytes < NEAR, after


def test_page_cache_is_no_need_of_the_job(place: Place, tmp_path: Path) -> None:
    """What is written to files and read from them is left out; what is held beside it is not."""
    with grouped(place) as one:
        one.begin()
        one.do(f"open({str(tmp_path / 'file')!r}, 'wb').write(bytes(MIB) * 48)")
        taken = one.group.end()
        # The buffer that is written, and no second time the pages of the file.
        assert taken.peak_bytes - taken.baseline_bytes < 48 * MIB + NEAR, taken
        one.begin()
        one.do("held = bytearray(b'x') * (32 * MIB)")
        taken = one.group.end()
        assert abs(taken.peak_bytes - taken.baseline_bytes - 32 * MIB) < NEAR, taken


def test_a_limit_makes_the_kernel_give_up_cache_first(place: Place, tmp_path: Path) -> None:
    """A job may read files that are larger than its limit; nothing of it is killed."""
    file = tmp_path / "file"
    file.write_bytes(bytes(96 * MIB))
    os.sync()
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with grouped(place) as one:
        assert one.begin(64 * MIB)
        one.do(f"file = open({str(file)!r}, 'rb')")
        one.do("while file.read(MIB): pass")
        taken = one.group.end()
        assert taken.kills == 0
        assert one.process.poll() is None
        assert taken.peak_bytes - taken.baseline_bytes < 2 * NEAR, taken


def test_cache_of_the_job_before_is_given_up_in_a_thread(place: Place, tmp_path: Path) -> None:
    """A lower limit than what is charged takes time, and stands in the end."""
    with grouped(place) as one:
        one.begin()
        one.do(f"open({str(tmp_path / 'file')!r}, 'wb').write(bytes(MIB) * 64); os.sync()")
        assert not one.begin(48 * MIB)
        one.group.enforce()
        one.do("held = bytearray(b'x') * (64 * MIB)")
        assert one.group.end().kills


@pytest.mark.parametrize("code", [
    "held = bytearray(b'x') * (256 * MIB)",
    "held = mmap.mmap(-1, 256 * MIB, flags=mmap.MAP_PRIVATE); held[:] = b'x' * len(held)",
    "held = mmap.mmap(-1, 256 * MIB); held[:] = b'x' * len(held)",
    "subprocess.run([sys.executable, '-c', 'b = bytearray(b\"x\") * (256 << 20)'])",
], ids=["heap", "private", "shared", "program"])  # fmt: skip
def test_what_passes_the_limit_is_stopped_there(place: Place, code: str) -> None:
    """Whatever kind of memory it is, and whichever process takes it: not a page more."""
    with grouped(place) as one:
        one.begin(96 * MIB)
        one.do(code)
        taken = one.group.end()
        # Whoever was killed, with version 2 the rest of the group, and the victim once more.
        assert taken.kills, taken
        assert taken.peak_bytes <= 96 * MIB + MIB, taken


def test_shared_pages_count_once(place: Place) -> None:
    """Forks that share what their parent holds hold it together, which /proc counts for each."""
    with grouped(place) as one:
        one.do("held = bytearray(b'x') * (48 * MIB)")
        one.begin()
        one.do("pids = [os.fork() or time.sleep(600) for _ in range(4)]")
        held = one.group.look()
        everyone = [member.pid for member in one.group.members()]
        assert len(everyone) == 5
        assert group_bytes(everyone) > 5 * 48 * MIB
        assert held < 48 * MIB + 60 * MIB, held


def test_what_shook_off_every_trace_is_found(place: Place) -> None:
    """A daemon with another session, parent and environment is a member still."""
    with grouped(place) as one:
        daemon = "os.setsid(); os.fork() and os._exit(0)"
        sleep = "os.execve('/bin/sleep', ['sleep', '600'], {})"
        one.do(f"pid = os.fork() or ({daemon!r}, exec({daemon!r}), {sleep})")
        eventually(lambda: len(one.group.members()) >= 2, within_s=10, what="the daemon")
        assert not one.group.remove(), "it is not empty"


def test_a_program_that_the_kernel_kills_is_evidence(home: Home, tmp_path: Path) -> None:
    """The watch sees nothing, the child lives and says that it failed: it is out of memory."""
    with Supervised(tmp_path, memory="4GiB") as site:
        site.under = home.under
        worker = site.start_ready(app=APP)
        go = tmp_path / "go"
        (job,) = site.enqueue(tasks.gulp_in_program.call(600, str(go)))
        child = int(site.wait_lines("gulp", "begins")[0][2])
        worker.signal(signal.SIGSTOP)
        go.touch()

        def is_over() -> bool:
            # With version 2 the kernel kills the child as well, as it is told to.
            told = [line[2] for line in site.lines() if line[:2] == ["gulp", "returned"]]
            return told == ["-9"] or not processes.is_alive(child)

        eventually(is_over, within_s=SOON_S, what="the kernel to kill", state=site.report)
        worker.signal(signal.SIGCONT)
        (record,) = site.wait_final(job)
        assert record.reason is Reason.OUT_OF_MEMORY, record
        (attempt,) = record.attempts
        assert "the kernel killed in its memory group" in str(attempt.error), attempt
        usage = attempt.usage
        assert usage is not None
        assert usage.measured == "cgroup", usage
        hard_bytes = hard_limit_bytes(usage.limit_bytes)
        assert hard_bytes is not None
        assert hard_bytes - NEAR < (usage.peak_bytes or 0) <= hard_bytes + MIB, usage


@pytest.mark.parametrize("cgroups", ["auto", "off"])
def test_what_outgrows_its_container_is_free_once(
    place: Place, tmp_path: Path, cgroups: str
) -> None:
    """It stays within its own limit and the kernel kills it: uncharged once, then out of memory."""
    # Bytes that the worker may reserve and its container does not have.
    with (
        home_in(place, 300 * MIB) as small,
        Supervised(tmp_path, memory="1GiB", cgroups=cgroups) as site,
    ):
        site.under = small.under
        worker = site.start_ready(app=APP)
        call = tasks.hog.using(memory="600MiB").call(400, 30.0)
        (record,) = site.wait_final(*site.enqueue(call))
        assert [one.outcome for one in record.attempts] == [
            "interrupted", "out_of_memory", "out_of_memory", "out_of_memory",
        ], record  # fmt: skip
        assert (record.reason, record.charges.ooms) == (Reason.TOO_LARGE, 3), record
        assert "within its own limit" in str(record.attempts[1].error), record
        assert worker.exit_code is None, worker.report()


def test_a_daemon_ends_with_its_job(home: Home, tmp_path: Path) -> None:
    """It has another session, parent and environment, and is in the group of its job's child."""
    with Supervised(tmp_path, memory="1GiB") as site:
        site.under = home.under
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.leave_daemon.call()))
        assert record.reason is Reason.POISON, record
        daemons = [int(line[1]) for line in site.wait_lines("daemon", count=3)]
        assert not [pid for pid in daemons if processes.is_alive(pid)], daemons


def test_what_a_killed_worker_left_running_is_ended_by_the_next(home: Home, tmp_path: Path) -> None:
    """The supervisor is killed, its children die with it; a program of a job goes on till then."""
    with Supervised(tmp_path, memory="1GiB") as site:
        site.under = home.under
        first = site.start_ready(app=APP)
        site.enqueue(tasks.hog_in_program.call(16, 600.0))
        program = int(site.wait_lines("program")[0][1])
        first.signal(signal.SIGKILL)
        first.wait_exit(SOON_S)
        assert processes.is_alive(program)
        site.start_ready(app=APP)
        assert not processes.is_alive(program)


def test_groups_go_with_their_worker(home: Home, tmp_path: Path) -> None:
    """A worker that ends leaves none; what a killed one leaves, the next one removes."""

    def groups_of(pid: int) -> list[Path]:
        stat = read_stat(pid)
        assert stat is not None
        return list(home.folder.glob(f"penstock.*.{pid}.{stat.started_ticks}.[0-9]*"))

    with Supervised(tmp_path, memory="1GiB") as site:
        site.under = home.under
        first = site.start_ready(app=APP)
        site.wait_final(*site.enqueue(tasks.hog.call(16)))
        (left,) = groups_of(first.pid)
        processes.kill_tree(first.pid)
        first.wait_exit(SOON_S)
        assert left.exists()
        foreign = home.folder / f"penstock.{os.getpid()}.not-ours"
        foreign.mkdir()
        try:
            second = site.start_ready(app=APP)
            assert not left.exists()
            assert foreign.exists(), "it is not ours to be removed"
        finally:
            foreign.rmdir()
        site.wait_final(*site.enqueue(tasks.hog.call(16)))
        (own,) = groups_of(second.pid)
        second.signal(signal.SIGTERM)
        assert second.wait_exit(SOON_S) == 0
        assert not own.exists()


def test_none_are_made_where_they_are_off(tmp_path: Path) -> None:
    """`cgroups = "off"` leaves everything to the watch."""
    with Supervised(tmp_path, memory="1GiB", cgroups="off") as site:
        worker = site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.hog.call(16)))
        usage = record.attempts[0].usage
        assert usage is not None
        assert usage.measured in ("hwm", "sampled"), usage
        assert not list(own_group().folder.glob(f"penstock.*.{worker.pid}.*"))


def test_a_worker_that_begins_anew_sweeps_what_its_former_self_left(place: Place) -> None:
    """Its process lives, so that the sweep for the dead passes it over."""
    boot = SystemClock().boot_id
    stem = Identity.of_this_process(boot).owned_name(os.getpid())
    left = own_group().folder / f"{stem}.7"
    left.mkdir()
    Groups.open(boot)
    assert not left.exists()
    assert place.folder.exists()


def test_a_living_worker_is_not_swept(place: Place) -> None:
    """Groups of this process stay when another one begins in the same place."""
    boot = SystemClock().boot_id
    identity = Identity.of_this_process(boot)
    owner = identity.owner(os.getpid())
    whose = f"{boot}.{owner.pid_namespace}.{owner.pid}.{owner.started_ticks}"
    own = place.folder / f"penstock.{whose}.1"
    own.mkdir()
    try:
        sweep(place, identity)
        assert own.exists()
    finally:
        own.rmdir()
