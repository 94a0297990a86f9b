"""F03: every way in which user code can end its own process, alone and among others."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from penstock import Job
from penstock.broker.requests import ERROR_BYTES_MAX
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support.site import Site
from tests.support.summary import Publish, summarise

#: Ways that end the process, and ways that are an error like others.
CRASHES: tuple[tasks.Death, ...] = ("segfault", "exit_now", "abort", "close_files")
ERRORS: tuple[tasks.Death, ...] = ("sys_exit", "unpicklable", "huge")


@pytest.mark.timeout(600)
def test_every_death_is_an_outcome(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
) -> None:
    """F03: a death is `crashed` or `failed`, charged once; neighbours go free; errors are cut."""
    site = make_site("f03", concurrency="6")
    began = time.monotonic()
    worker = site.start_ready()
    rounds = count(1, 20)
    alone = {how: site.enqueue(*(tasks.die.call(how) for _ in range(rounds))) for how in CRASHES}
    errors = {how: site.enqueue(*(tasks.die.call(how) for _ in range(rounds))) for how in ERRORS}
    poison = site.enqueue(*(tasks.die.call("segfault", times=99) for _ in range(rounds)))
    # Errors first: a crash would cut them off, and the order of the two is left to chance.
    shared_errors = site.enqueue(
        *(tasks.die_among_others.call(how) for how in ERRORS for _ in range(rounds))
    )
    site.wait_final([job.id for job in shared_errors], within_s=60 + 10 * rounds)
    culprits: list[Job[tasks.Report]] = []
    neighbours: list[Job[tasks.Report]] = []
    for how in CRASHES * rounds:
        # One after the other: a crash must not be hidden by that of the next culprit.
        beside = site.enqueue(*(tasks.wait.call(0.5) for _ in range(3)))
        for job in beside:
            site.wait_started(job.id)
        # Twice: once among the neighbours, which makes it a suspect; once alone, which is charged.
        (culprit,) = site.enqueue(tasks.die_among_others.call(how, 2))
        site.wait_final([culprit.id], within_s=30)
        culprits.append(culprit)
        neighbours += beside
    everything = [*alone.values(), *errors.values(), poison, culprits, neighbours]
    site.wait_final([job.id for some in everything for job in some], within_s=60 + 10 * rounds)
    assert worker.exit_code is None, worker.report()
    events, dump = site.check(leftovers=site.drain(worker))
    publish(summarise("F03 deaths", events, dump, time.monotonic() - began), events)

    for how, jobs in alone.items():
        for job in jobs:
            record = dump.jobs[job.id]
            outcomes = [attempt.outcome for attempt in record.attempts]
            assert (outcomes, record.charges.crashes) == (["crashed", "succeeded"], 1), (
                how,
                record,
            )
    for how, jobs in errors.items():
        for job in jobs:
            record = dump.jobs[job.id]
            outcomes = [attempt.outcome for attempt in record.attempts]
            assert (outcomes, record.charges.errors) == (["failed", "succeeded"], 1), (how, record)
            assert len(msgspec.json.encode(record.error)) <= 2 * ERROR_BYTES_MAX, how
    for job in shared_errors:
        record = dump.jobs[job.id]
        outcomes = [attempt.outcome for attempt in record.attempts]
        assert (outcomes, record.charges.errors) == (["failed", "succeeded"], 1), record
    for job in poison:
        record = dump.jobs[job.id]
        assert (record.state, record.reason) == (State.DEAD, Reason.POISON), record
        assert record.charges.crashes == 3, record
    for job in culprits:
        record = dump.jobs[job.id]
        assert (record.state, record.charges.crashes) == (State.COMPLETED, 1), record
    assert any(len(dump.jobs[job.id].attempts) > 1 for job in neighbours), (
        "no crash hit a neighbour"
    )
    for job in neighbours:
        record = dump.jobs[job.id]
        assert record.state is State.COMPLETED, record
        assert (record.charges.errors, record.charges.crashes) == (0, 0), record
