"""F23: records and payloads that cannot be run are buried, and nothing behind them waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from penstock import Job
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.errors import BadArguments, PayloadTooLarge, SerializationError
from tests.chaos import tasks
from tests.chaos.poison import HARMLESS, PAYLOADS, RECORDS, TASK, UNKNOWN
from tests.support.side_by_side import on_each_broker
from tests.support.site import Site
from tests.support.summary import Publish, summarise

#: Where a job runs: the record goes another way to each.
KINDS = (tasks.measure, tasks.measure_in_loop, tasks.measure_alone)


def records(task: str, need: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, stored record) of all that is poisonous about a task."""
    whole = b'{"task":"%s","need":"%s","payload":%%s}' % (task.encode(), need.encode())
    for name, payload in PAYLOADS.items():
        yield name, whole % payload
    for name, record in RECORDS.items():
        yield name, record.replace(TASK, task.encode() + b'","need":"' + need.encode())


@pytest.mark.timeout(300)
def test_poison_in_the_store_is_buried_and_blocks_nothing(
    make_site: Callable[..., Site], publish: Publish
) -> None:
    """What cannot be read or does not fit dies in one attempt; every good job behind completes."""
    # One after the other: 20 MiB records keep both cores busy.
    on_each_broker(lambda kind: take_poison(make_site("f23", on=kind), publish), at_once=1)


def take_poison(site: Site, publish: Publish) -> None:
    """Write poison straight into the store, and let a worker find it."""
    began = time.monotonic()
    site.broker.register(["default"])
    site.broker.pause("default")
    written: dict[str, bytes] = {}
    names: dict[str, str] = {}
    good: list[Job[tasks.Report]] = []
    for kind in KINDS:
        for name, record in records(kind.name, kind.call("").plan.spec.need):
            (job,) = site.enqueue(kind.using(priority=9).call("replaced"))
            written[job.id], names[job.id] = record, name
        good += site.enqueue(*(kind.call("good") for _ in range(3)))
    site.door.write_specs(written)
    site.broker.resume("default")
    worker = site.start_ready()
    site.wait_final([job.id for job in good], within_s=60)
    unknown = [job for job, name in names.items() if name in UNKNOWN]
    site.wait_final([job for job in names if job not in unknown], within_s=60)
    for job_id in unknown:
        found = site.record(job_id)
        assert (found.state, found.charges.unknown_task) == (State.SCHEDULED, 1), found
        site.cancel(job_id)
    assert worker.health().restarts == 0, worker.report()
    events, dump = site.check(leftovers=site.drain(worker))
    publish(summarise("F23 poison in the store", events, dump, time.monotonic() - began), events)
    for job_id, name in names.items():
        found = dump.jobs[job_id]
        fate = (found.state, found.reason)
        if name in HARMLESS:
            assert fate == (State.COMPLETED, None), (name, found.attempts)
        elif name not in UNKNOWN:
            assert fate == (State.DEAD, Reason.BAD_PAYLOAD), (name, found.attempts)
        # It was looked at once, by runners and children that lived on. A claim whose slot went to
        # a child in the meantime is handed back unread.
        read = [attempt for attempt in found.attempts if attempt.outcome != "interrupted"]
        assert len(read) == 1, (name, found.attempts)
    for job in good:
        assert job.result()["chars"] == 4


#: Arguments that the library must refuse before anything is stored, and with what.
REFUSED: dict[str, tuple[object, type[Exception]]] = {
    "lone surrogate": ("\ud800", SerializationError),
    "20 MiB": ("x" * 20 * 2**20, PayloadTooLarge),
    "number": (7, BadArguments),
    "none": (None, BadArguments),
    "list": (["abc"], BadArguments),
}


@pytest.mark.parametrize("name", REFUSED)
def test_poison_through_the_api_is_refused_by_the_caller(
    make_site: Callable[..., Site], name: str
) -> None:
    """An argument that cannot be stored or does not fit raises where it was given."""
    site = make_site("api")
    argument, error = REFUSED[name]
    with pytest.raises(error):
        site.app.enqueue_many([tasks.measure.call(argument)])  # type: ignore[arg-type]
    assert not any(counts.queued for counts in site.broker.counts())
