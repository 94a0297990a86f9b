"""Event sinks observe, and harm nobody."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock import App
from penstock.broker.clock import SystemClock
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobId
from penstock.errors import EnqueueRefused, PayloadTooLarge
from penstock.signals import SoftTimeLimit
from penstock.telemetry.events import Event, EventSinks, JobEnqueued, LeaseLost

EVENT = LeaseLost(id=JobId("j"), task="t", queue="q", attempt=1)


def double(n: int) -> int:
    """Return twice the number."""
    return 2 * n


def test_every_sink_is_told() -> None:
    """Each sink gets the same value."""
    seen: list[Event] = []
    sinks = EventSinks(seen.append)
    sinks.add(seen.append)
    sinks.tell(EVENT)
    assert seen == [EVENT, EVENT]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_sink_that_raises_harms_nobody(
    caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """It is named in the log once, is still told, and so is the next one."""
    seen: list[Event] = []
    tried: list[Event] = []

    def broken(event: Event) -> None:
        tried.append(event)
        raise error(event)

    sinks = EventSinks(broken, seen.append)
    with caplog.at_level(logging.INFO, "penstock.telemetry"):
        for _ in range(3):
            sinks.tell(EVENT)
    assert (len(seen), len(tried)) == (3, 3)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "broken" in record.getMessage()
    assert record.exc_info is not None


def test_a_limit_that_passes_in_a_sink_is_the_tasks() -> None:
    """SoftTimeLimit is raised into the thread of a task; a sink called from there is no end."""

    def late(_event: Event) -> None:
        raise SoftTimeLimit

    with pytest.raises(SoftTimeLimit):
        EventSinks(late).tell(EVENT)


def test_events_cannot_be_changed() -> None:
    """A sink cannot change what the next one sees."""
    with pytest.raises(AttributeError):
        EVENT.task = "other"  # type: ignore[misc] # that is the point


def test_accepted_jobs_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """One event per accepted job, sync and awaited, alone and many; duplicates are marked."""
    app = App("memory://")
    app.install_enqueuer(MemoryBroker(SystemClock()))
    task = app.task(name="double", queue="sums")(double)
    task.enqueue(0)
    seen: list[Event] = []

    @app.add_event_sink
    def note(event: Event) -> None:
        seen.append(event)
        raise RuntimeError("a sink that fails refuses no job")

    ids = [task.enqueue(1).id, *(job.id for job in app.enqueue_many([task.call(2)]))]
    ids += [task.using(key="k").enqueue(3).id for _ in range(2)]

    async def more() -> None:
        ids.append((await task.aenqueue(4)).id)
        ids.extend(job.id for job in await app.aenqueue_many([task.call(5)]))

    asyncio.run(more())
    assert seen == [
        JobEnqueued(id=JobId(job_id), task="double", queue="sums", duplicate=number == 3)
        for number, job_id in enumerate(ids)
    ]
    assert len([one for one in caplog.records if one.name == "penstock.telemetry"]) == 1


def test_refused_jobs_are_not_told() -> None:
    """What a broker refuses has not been enqueued."""
    app = App("memory://", settings={"payload_bytes_max": "1KiB"})
    task = app.task(name="keep")(len)
    seen: list[Event] = []
    app.add_event_sink(seen.append)
    with pytest.raises(PayloadTooLarge):
        task.enqueue("x" * 2_000)
    kept = app.task(name="double")(double)
    kept.using(key="k").enqueue(1)
    with pytest.raises(EnqueueRefused):
        app.enqueue_many([kept.using(key="k").call(2), kept.call(3)])
    assert [type(one) for one in seen] == [JobEnqueued, JobEnqueued]
