"""CoroutineRun: an interruption reaches user code, and what stands between tidies up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from penstock.executors.coroutine import CoroutineRun
from penstock.executors.stop import Stop
from penstock.signals import CancelRequested, SoftTimeLimit

Body = Callable[[asyncio.Event], Coroutine[Any, Any, Any]]


async def interrupted(body: Body, *stops: Stop) -> Any:
    """Run a body in a task of its own and interrupt it once it has set its event."""
    began = asyncio.Event()

    async def main() -> Any:
        return await run.drive(body(began))

    task = asyncio.create_task(main())
    run = CoroutineRun(task)
    await asyncio.wait_for(began.wait(), 30)
    for stop in stops:
        run.interrupt(stop)
    return await task


def children_of(ended: list[str]) -> Callable[[asyncio.Event], Coroutine[Any, Any, None]]:
    """Return a coroutine function that notes how it ended."""

    async def child(began: asyncio.Event) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    return child


async def in_task_group(child: Any, began: asyncio.Event) -> None:
    """Run the child in a TaskGroup."""
    async with asyncio.TaskGroup() as group:
        group.create_task(child(began))


async def in_wait_for(child: Any, began: asyncio.Event) -> None:
    """Run the child under wait_for."""
    await asyncio.wait_for(child(began), 60)


async def in_gather(child: Any, began: asyncio.Event) -> None:
    """Run the child in gather."""
    await asyncio.gather(child(began), child(began))


async def in_timeout(child: Any, began: asyncio.Event) -> None:
    """Run the child under timeout()."""
    async with asyncio.timeout(60):
        await child(began)


async def in_a_task(child: Any, began: asyncio.Event) -> None:
    """Await the child as a task of its own."""
    await asyncio.create_task(child(began))


@pytest.mark.parametrize("way", [in_task_group, in_wait_for, in_gather, in_timeout, in_a_task])
@pytest.mark.parametrize(
    ("stop", "raised"), [(Stop.SOFT, SoftTimeLimit), (Stop.CANCEL, CancelRequested)]
)
def test_nothing_is_left_running(
    way: Callable[[Any, asyncio.Event], Awaitable[None]], stop: Stop, raised: type[BaseException]
) -> None:
    """Whatever user code waits in, its children end, and it sees the exception by its name."""
    ended: list[str] = []

    async def body(began: asyncio.Event) -> str:
        try:
            await way(children_of(ended), began)
        except raised as error:
            return type(error).__name__
        return "went on"

    async def main() -> tuple[Any, int]:
        seen = await interrupted(body, stop)
        return seen, len(asyncio.all_tasks())

    assert asyncio.run(main()) == (raised.__name__, 1)
    assert ended, "the child was not ended"


def test_the_count_of_cancellations_is_restored() -> None:
    """After a handled soft limit a timeout() of user code still turns into TimeoutError."""

    async def body(began: asyncio.Event) -> str:
        began.set()
        with contextlib.suppress(SoftTimeLimit):
            await asyncio.sleep(60)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            task = asyncio.current_task()
            return f"timeout {task.cancelling() if task else None}"
        return "went on"

    assert asyncio.run(interrupted(body, Stop.SOFT)) == "timeout 0"


def test_two_reasons_are_raised_as_the_stronger() -> None:
    """A cancel that comes right after a soft limit replaces it."""

    async def body(began: asyncio.Event) -> str:
        began.set()
        try:
            await asyncio.sleep(60)
        except CancelRequested:
            task = asyncio.current_task()
            return f"cancel {task.cancelling() if task else None}"
        return "went on"

    assert asyncio.run(interrupted(body, Stop.SOFT, Stop.CANCEL)) == "cancel 0"


def test_a_weaker_reason_does_nothing() -> None:
    """After a cancel no soft limit is raised."""

    async def body(began: asyncio.Event) -> list[str]:
        seen: list[str] = []
        began.set()
        for _ in range(2):
            try:
                await asyncio.sleep(0.05)
            except BaseException as error:  # noqa: BLE001 - every kind is noted
                seen.append(type(error).__name__)
        return seen

    assert asyncio.run(interrupted(body, Stop.CANCEL, Stop.SOFT)) == ["CancelRequested"]


def test_an_inner_task_that_swallows_the_cancel_does_not_hide_it() -> None:
    """The interruption is raised at the next await where the first was swallowed below."""

    async def swallow(began: asyncio.Event) -> str:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "swallowed"
        return "went on"

    async def body(began: asyncio.Event) -> str:
        try:
            await asyncio.create_task(swallow(began))
        except SoftTimeLimit:
            return "soft"
        return "hidden"

    assert asyncio.run(interrupted(body, Stop.SOFT)) == "soft"


def test_a_plain_awaitable_is_awaited() -> None:
    """A decorated function may return another awaitable than a coroutine."""

    class Later:
        def __await__(self) -> Generator[Any, Any, int]:
            yield from asyncio.sleep(0).__await__()
            return 7

    async def main() -> Any:
        return await CoroutineRun(asyncio.current_task()).drive(Later())

    assert asyncio.run(main()) == 7
