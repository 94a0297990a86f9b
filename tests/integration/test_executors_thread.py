"""ThreadExecutor: what is meant for one call never hits another, however close it comes."""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import threading
import time
from functools import partial

import pytest

from penstock.executors.lane import ThreadRun
from penstock.executors.stop import Stop
from penstock.executors.thread import ThreadExecutor
from penstock.signals import CancelRequested, SoftTimeLimit

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("word")


def test_context_variables_go_along() -> None:
    """A call sees the caller's context variables, and what it sets stays its own."""

    def body() -> str:
        seen = WORD.get()
        WORD.set("changed")
        return seen

    async def main() -> tuple[str, str]:
        WORD.set("given")
        threads = ThreadExecutor()
        seen = await threads.call(ThreadRun(asyncio.current_task()), body)
        threads.close()
        return seen, WORD.get()

    assert asyncio.run(main()) == ("given", "given")


def test_threads_are_made_as_they_are_needed() -> None:
    """One call after the other needs one thread; three at once need three."""

    async def main() -> tuple[int, int]:
        threads = ThreadExecutor("probe")
        one = {await _name(threads) for _ in range(5)}
        gate = threading.Barrier(3)

        def meet() -> str:
            gate.wait(30)
            return threading.current_thread().name

        three = await asyncio.gather(
            *(threads.call(ThreadRun(asyncio.current_task()), meet) for _ in range(3))
        )
        threads.close()
        return len(one), len(set(three))

    assert asyncio.run(main()) == (1, 3)


async def _name(threads: ThreadExecutor) -> str:
    def body() -> str:
        return threading.current_thread().name

    name: str = await threads.call(ThreadRun(asyncio.current_task()), body)
    return name


def test_an_interruption_never_hits_the_next_call() -> None:
    """Calls that end at the very moment of their interruption leave their thread clean.

    The victim of a stray exception would be the next call, which nobody interrupts.
    """

    async def main() -> dict[str, int]:
        threads = ThreadExecutor()
        counts = {"interrupted": 0, "ended": 0}
        chance = random.Random(7)
        for _ in range(1_500):
            victim, began = ThreadRun(None), threading.Event()
            # On a core that both threads share the loop may be woken only when the slice of the
            # other, some 3 ms, is over: calls of up to 5 ms end before it and after it.
            ending = asyncio.ensure_future(
                threads.call(victim, partial(_spin, began, chance.random() / 200))
            )
            await asyncio.sleep(0)
            began.wait(30)
            await asyncio.sleep(chance.random() / 1000)
            victim.interrupt(Stop.SOFT)
            victim.interrupt(Stop.CANCEL)
            try:
                await ending
                counts["ended"] += 1
            except (SoftTimeLimit, CancelRequested):
                counts["interrupted"] += 1
            # Nobody interrupts this one: whatever it raises is stray.
            assert await threads.call(ThreadRun(None), lambda: sum(range(200))) == 19_900
        threads.close()
        return counts

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        counts = asyncio.run(main())
    finally:
        sys.setswitchinterval(usual)
    assert min(counts.values()) > 0, f"the race was never close: {counts}"


def _spin(began: threading.Event, seconds: float) -> None:
    began.set()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def test_a_sleeping_call_is_interrupted_when_it_wakes() -> None:
    """A call into C is not interrupted: the exception waits for the next bytecode."""

    async def main() -> float:
        threads = ThreadExecutor()
        victim = ThreadRun(None)
        began = threading.Event()

        def body() -> None:
            began.set()
            time.sleep(0.3)

        ending = asyncio.ensure_future(threads.call(victim, body))
        await asyncio.to_thread(began.wait, 30)
        at = time.perf_counter()
        victim.interrupt(Stop.SOFT)
        with pytest.raises(SoftTimeLimit):
            await ending
        threads.close()
        return time.perf_counter() - at

    assert asyncio.run(main()) > 0.1


def test_what_the_call_came_to_goes_before_a_late_interruption() -> None:
    """A call that has returned keeps its value, whatever is asked of it afterwards."""

    async def main() -> int:
        threads = ThreadExecutor()
        done = ThreadRun(None)
        value: int = await threads.call(done, lambda: 3)
        done.interrupt(Stop.CANCEL)
        assert await threads.call(ThreadRun(None), lambda: 4) == 4
        threads.close()
        return value

    assert asyncio.run(main()) == 3
