"""The two drivers of flows: one calls a sync broker, one awaits an async one."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from penstock.broker.requests import Accepted, Durability, EnqueueRequest, Refused
from penstock.client.flow import (
    RETRY_WINDOW_S,
    Cancel,
    Flow,
    Get,
    Pause,
    Peek,
    Register,
    Send,
    Step,
    send_again,
)
from penstock.errors import BrokerError, OutcomeUnknown, PenstockError, UsageError, WrongContext

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker, Enqueuer
    from penstock.client.faces import Face

T = TypeVar("T")


def drive(flow: Flow[T], enqueuer: Enqueuer, pause: Callable[[float], None]) -> T:
    """Perform a flow against a sync broker and return its result.

    Args:
        flow: not started yet.
        enqueuer: as much of a broker as the flow's steps need.
        pause: lets time pass, in seconds.
    """
    try:
        step = next(flow)
        while True:
            try:
                answer = perform(step, enqueuer, pause)
            except (BrokerError, UsageError) as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


def put_one(
    job: EnqueueRequest,
    durability: Durability | None,
    enqueuer: Enqueuer,
    pause: Callable[[float], None],
) -> Accepted | PenstockError:
    """Enqueue one job: the first step of `flow.send` here and now, the flow only where it is lost.

    Raises:
        BrokerError: as `flow.send`.
    """
    ends = time.monotonic() + RETRY_WINDOW_S
    try:
        answers = enqueuer.enqueue([job], durability=durability)
    except OutcomeUnknown as unknown:
        again = send_again([job], durability, unknown, ends, time.monotonic)
        answers = drive(again, enqueuer, pause)
    [answer] = answers
    return answer.error if isinstance(answer, Refused) else answer


async def adrive(flow: Flow[T], perform_step: Callable[[Step], Awaitable[Any]]) -> T:
    """Perform a flow by awaiting each step and return its result."""
    try:
        step = next(flow)
        while True:
            try:
                answer = await perform_step(step)
            except (BrokerError, UsageError) as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def aput_one(
    job: EnqueueRequest,
    durability: Durability | None,
    broker: Face,
    perform_step: Callable[[Step], Awaitable[Any]],
) -> Accepted | PenstockError:
    """Enqueue one job as `put_one` does, awaited; an error of the broker is returned."""
    ends = time.monotonic() + RETRY_WINDOW_S
    try:
        try:
            answers = await broker.enqueue([job], durability=durability)
        except OutcomeUnknown as unknown:
            again = send_again([job], durability, unknown, ends, time.monotonic)
            answers = await adrive(again, perform_step)
    except (BrokerError, UsageError) as error:
        return error
    [answer] = answers
    return answer.error if isinstance(answer, Refused) else answer


def perform(step: Step, enqueuer: Enqueuer, pause: Callable[[float], None]) -> Any:
    """Perform one step against a sync broker and return its answer."""
    match step:
        case Register():
            return enqueuer.register(step.queues)
        case Send():
            return enqueuer.enqueue(step.jobs, durability=step.durability)
        case Peek():
            return whole(enqueuer).peek([step.id])[0]
        case Get():
            return whole(enqueuer).get(step.id)
        case Cancel():
            return whole(enqueuer).cancel([step.id])[0]
        case Pause():
            return pause(step.seconds)
    assert_never(step)


def whole(enqueuer: Enqueuer) -> Broker:
    """Return the enqueuer as the whole broker that it is.

    Raises:
        WrongContext: it only enqueues: this is a child process.
    """
    if not hasattr(enqueuer, "peek"):
        raise WrongContext(
            "a child process can enqueue jobs but not look at them or cancel them: wait for the "
            "result in the process that enqueued the parent job, or chain the jobs with after="
        )
    broker: Broker = enqueuer  # type: ignore[assignment]  # told apart by `peek`, just above
    return broker


def is_in_event_loop() -> bool:
    """Return whether an event loop runs in this thread, without importing asyncio."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None  # noqa: SLF001
