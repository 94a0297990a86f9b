"""Power that goes inside writes and syncs of a process that produces and works on a file."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from penstock.brokers.sqlite import SqliteBroker
from tests.chaos.power_writer import AFTER
from tests.support import history as h
from tests.support.checker import check, report
from tests.support.dump import Dump, take_dump
from tests.support.eventually import eventually
from tests.support.losses import Cut, Loss, losses, run_again
from tests.support.mini_worker import QUEUE, MiniWorker
from tests.support.site import Site
from tests.support.sqlite_file import check_whole
from tests.support.summary import Publish, chaos_seed, summarise
from tests.support.worker_process import ROOT

#: Writes and syncs of one life, at most: some dozens of transactions.
OPERATIONS_MAX = 400
#: Claims wait for no sync in any class (ADR-0010). Where one is forgotten its job starts again
#: without a cause in the records, and its attempts overlap: these three do not hold.
NOT_HERE = frozenset({"I3", "I4", "I5"})


def live_and_die(folder: Path, durability: str, operations: int, seed: int) -> None:
    """Run one process until its power goes, and put what is left in the place of the database."""
    words = [str(folder), durability, str(operations), str(seed)]
    command = [sys.executable, "-m", "tests.chaos.power_writer", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    context = f"seed {seed}, n = {operations}"
    assert done.returncode == -signal.SIGKILL, f"{context}: {done.returncode}\n{done.stderr}"
    for file in folder.glob("penstock.db*"):
        if not file.is_dir():
            file.unlink()
    after = folder / AFTER
    for file in after.iterdir():
        file.rename(folder / file.name)
    after.rmdir()
    check_whole(folder / "penstock.db")


def finish(site: Site) -> tuple[list[h.Event], Dump]:
    """Run whatever is left, each queue by its own kind of worker; return history and dump."""
    mini = MiniWorker(site.broker, site.history)
    worker = site.start_ready()

    def is_done() -> bool:
        mini.turn(limit=100)
        return all(one.queued + one.running + one.retrying == 0 for one in site.broker.counts())

    eventually(is_done, within_s=60, what="everything to end", state=site.report)
    mini.close()
    site.drain(worker)
    # What is left over is not asked: the leases of those that died have not run out in a boot of
    # another name.
    return site.events(), take_dump(site.broker)


def file_power(folder: Path, publish: Publish, lives: int, durability: str) -> list[Loss]:
    """Cut the power of one process after the other; return what was lost in the end."""
    seed = chaos_seed()
    draw = random.Random(seed)
    began = time.monotonic()
    empty = SqliteBroker.open(folder / "penstock.db")
    empty.register([QUEUE])
    empty.close()
    for life in range(lives):
        live_and_die(folder, durability, draw.randint(20, OPERATIONS_MAX), seed + life)
    with Site(folder, url=f"sqlite:///{folder / 'penstock.db'}") as site:
        events, dump = finish(site)
        seconds = time.monotonic() - began
        lost = lost_in(events, dump)
        may_lose = durability == "local"
        row = summarise(f"F14 power loss, {durability}", events, dump, seconds, may_lose=may_lose)
        row.repeated = run_again(events)
        row.lost_age_ms = max((one.age_ms for one in lost), default=0.0)
        publish(row, events)
        gone = {one.job for one in lost}
        broken = [
            one
            for one in check(events, dump)
            if one.invariant not in NOT_HERE and not (may_lose and one.job in gone)
        ]
        assert not broken, report(broken, f"seed {seed}, in {folder}")
        assert may_lose or not lost, f"seed {seed}: {lost}"
        return lost


def lost_in(events: list[h.Event], dump: Dump) -> list[Loss]:
    """Return what the file forgot; a process that loses its power tells so before."""
    faults = h.of_type(h.Fault, events)
    cuts = [Cut(one.at_ns, one.at_ns) for one in faults if one.kind == "power_loss"]
    return losses(events, dump, cuts)
