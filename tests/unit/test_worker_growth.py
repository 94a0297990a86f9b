"""A worker that has grown: when it drains to begin anew, and what signals mean meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.executors.cgroups import V2, Place
from penstock.worker.supervisor.groups import _outside
from penstock.worker.supervisor.growth import LOOKS_ABOVE, Growth
from penstock.worker.supervisor.stopping import STOP_SIGNALS, Stopping

#: Those that a worker takes.
TAKEN = (*STOP_SIGNALS, signal.SIGTSTP, signal.SIGCONT)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Signals are as they were, and none is left that would come then."""
    handlers = {number: signal.getsignal(number) for number in TAKEN}
    yield
    for number in TAKEN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_looks_in_a_row_above_the_bound_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a moment above it nor a worker that is quiet begins anew."""
    stopping, seen = Stopping(), list[int]()
    held = [9, 9, 0, *[9] * (LOOKS_ABOVE + 2)]

    def family_bytes(pid: int) -> int:
        assert pid == os.getpid()
        assert not stopping.begins_anew
        seen.append(held[len(seen)])
        # Quiet for one look: those before it do not count any more.
        stopping.set_quiet(len(seen) == 5)
        return seen[-1]

    monkeypatch.setattr("penstock.worker.supervisor.growth.family_bytes", family_bytes)
    asyncio.run(Growth(stopping, 8, look_s=0).run())
    assert seen == held
    assert stopping.begins_anew
    assert stopping.drain.is_set()


def test_this_process_is_measured() -> None:
    """The bound is held against real processes: this one holds more than a byte."""
    stopping = Stopping()
    asyncio.run(Growth(stopping, 1, look_s=0).run())
    assert stopping.begins_anew


def test_a_signal_means_that_the_worker_ends_after_all() -> None:
    """The first one while it drains to begin anew; it releases nothing, the second does."""

    async def run() -> None:
        stopping = Stopping()
        stopping.install(asyncio.get_running_loop())
        stopping.begin_anew("it has grown")
        os.kill(os.getpid(), signal.SIGTERM)
        # It is on its way through the loop when the decision is made.
        await stopping.hold()
        assert not stopping.begins_anew
        assert not stopping.release.is_set()
        stopping.request("SIGTERM")
        assert stopping.release.is_set()

    asyncio.run(run())


def test_a_signal_after_the_decision_waits_for_the_next_worker() -> None:
    """It is blocked, and pending when the interpreter is replaced."""

    async def run() -> None:
        stopping = Stopping()
        stopping.install(asyncio.get_running_loop())
        stopping.begin_anew("it has grown")
        await asyncio.to_thread(lambda: None)
        await stopping.hold()
        # To this thread: a worker has no other one by now, the tests may.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert stopping.begins_anew

    asyncio.run(run())
    assert signal.SIGTERM in signal.sigpending()


def test_a_quiet_worker_begins_anew_as_a_quiet_one() -> None:
    """Whoever made it quiet while it drained did not ask for one that claims again."""

    async def run(*, is_quiet: bool) -> bool:
        stopping = Stopping()
        stopping.install(asyncio.get_running_loop())
        stopping.begin_anew("it has grown")
        stopping.set_quiet(is_quiet)
        await stopping.hold()
        return signal.SIGTSTP in signal.sigpending()

    assert not asyncio.run(run(is_quiet=False))
    assert asyncio.run(run(is_quiet=True))
    # As the next worker does, unless SIGCONT comes before, which takes the pending one away.
    os.kill(os.getpid(), signal.SIGCONT)
    assert signal.SIGTSTP not in signal.sigpending()


def test_a_worker_that_begins_anew_divides_the_group_that_it_was_started_in() -> None:
    """It is in the group into which it moved out of the way, and goes no deeper each time."""
    inside = Place(Path("/groups/app/penstock.1.worker"), V2)
    outside = Place(Path("/groups/app"), V2)
    assert _outside(inside, "penstock.1.worker") == outside
    assert _outside(outside, "penstock.1.worker") == outside
