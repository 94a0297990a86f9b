"""run_attempt: soft and hard limits, cancels, and a worker that stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock import App
from penstock.context import CurrentJob
from penstock.core import outcome as o
from penstock.core.outcome import Outcome
from penstock.executors.stop import Stop
from penstock.signals import CancelRequested, SoftTimeLimit
from tests.support.attempt_bench import Bench


@pytest.fixture
def bench() -> Bench:
    """An app without tasks."""
    return Bench(App("memory://"))


@pytest.mark.parametrize(
    ("stop", "kind"),
    [
        (Stop.SOFT, o.TimedOut),
        (Stop.CANCEL, o.CancelledByRequest),
        (Stop.DRAIN, o.Interrupted),
        (Stop.HARD, o.TimedOut),
    ],
)
@pytest.mark.parametrize("kind_of_task", ["coroutine", "thread"])
def test_interruptions_end_an_attempt(
    bench: Bench, stop: Stop, kind: type[Outcome], kind_of_task: str
) -> None:
    """Each reason to stop has its outcome, in coroutines and in threads."""

    async def coroutine() -> None:
        bench.mark()
        await asyncio.sleep(60)

    def thread() -> None:
        bench.mark()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.005)

    task = bench.app.task(name="body")({"coroutine": coroutine, "thread": thread}[kind_of_task])
    assert isinstance(bench.run(bench.claimed(task.name), stop), kind)


@pytest.mark.parametrize("kind_of_task", ["coroutine", "thread"])
def test_an_interruption_before_the_start_is_not_lost(bench: Bench, kind_of_task: str) -> None:
    """A cancel that comes before the task's first step keeps its body from running."""

    async def coroutine() -> None:
        raise AssertionError

    def thread() -> None:
        raise AssertionError

    task = bench.app.task(name="body")({"coroutine": coroutine, "thread": thread}[kind_of_task])
    outcome = bench.run(bench.claimed(task.name), Stop.CANCEL, at_once=True)
    assert isinstance(outcome, o.CancelledByRequest)


def test_after_a_handled_soft_limit_the_result_counts(bench: Bench) -> None:
    """A task that catches SoftTimeLimit and returns has succeeded; it is raised once."""

    @bench.app.task(name="tidy")
    async def tidy() -> str:
        bench.mark()
        try:
            await asyncio.sleep(60)
        except SoftTimeLimit:
            await asyncio.sleep(0)
            return "partial"
        return "whole"

    outcome = bench.run(bench.claimed(tidy.name), Stop.SOFT, Stop.SOFT)
    assert outcome == o.Succeeded(b'"partial"')


def test_except_exception_does_not_swallow_a_cancel(bench: Bench) -> None:
    """CancelRequested passes `except Exception`."""

    @bench.app.task(name="stubborn")
    async def stubborn() -> str:
        bench.mark()
        try:
            await asyncio.sleep(60)
        except Exception:  # noqa: BLE001 - that is the point
            return "swallowed"
        return "whole"

    outcome = bench.run(bench.claimed(stubborn.name), Stop.CANCEL)
    assert isinstance(outcome, o.CancelledByRequest)


def test_past_the_hard_limit_nothing_counts(bench: Bench) -> None:
    """A task that swallows the hard limit's cancellation and returns has timed out."""

    @bench.app.task(name="deaf")
    async def deaf() -> str:
        bench.mark()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "late"
        return "whole"

    assert isinstance(bench.run(bench.claimed(deaf.name), Stop.HARD), o.TimedOut)


def test_an_error_of_its_own_after_a_drain_is_charged_to_nobody(bench: Bench) -> None:
    """What a task raises while the worker stops does not count against it."""

    @bench.app.task(name="upset")
    async def upset() -> None:
        bench.mark()
        try:
            await asyncio.sleep(60)
        except CancelRequested:
            raise RuntimeError("interrupted") from None

    assert isinstance(bench.run(bench.claimed(upset.name), Stop.DRAIN), o.Interrupted)


def test_the_hard_limit_reaches_middleware(bench: Bench) -> None:
    """A middleware that hangs after the task has ended is cancelled by the hard limit."""

    @bench.app.middleware
    async def hang(job: CurrentJob, call_next: Callable[[], Awaitable[Any]]) -> Any:
        await call_next()
        bench.mark()
        await asyncio.sleep(60)

    @bench.app.task(name="quick")
    def quick() -> int:
        return 1

    outcome = bench.run(bench.claimed(quick.name), Stop.SOFT, Stop.HARD)
    assert isinstance(outcome, o.TimedOut)
