"""F03: every way in which user code can end its own process, alone and among others."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from penstock.broker.requests import ERROR_BYTES_MAX
from penstock.core.job import JobRecord, Reason
from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.support.brokers import KINDS, Kind
from tests.support.side_by_side import on_each_broker
from tests.support.site import Site
from tests.support.summary import Publish, Summary, combined, summarise

#: Ways that end the process, and ways that are an error like others.
CRASHES: tuple[tasks.Death, ...] = ("segfault", "exit_now", "abort", "close_files")
ERRORS: tuple[tasks.Death, ...] = ("sys_exit", "unpicklable", "huge")
#: Seconds for a few jobs to end, with a machine that is busy with other tests.
SOON_S = 60.0


@pytest.mark.timeout(1_200)
def test_every_death_is_an_outcome(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
    *,
    is_proof: bool,
) -> None:
    """F03: a death is `crashed` or `failed`, charged once; neighbours go free; errors are cut.

    How a process dies and who sees it is of one host: in `make test` one broker stands for all.
    """
    rounds = count(1, 7)

    def run(kind: Kind) -> None:
        began = time.monotonic()
        # A worker each: one whose runners die again and again starts them ever more slowly.
        rows = [
            die(make_site(f"f03-{number}", on=kind, concurrency="6")) for number in range(rounds)
        ]
        publish(combined("F03 deaths", rows, time.monotonic() - began))

    on_each_broker(run, kinds=KINDS if is_proof else KINDS[:1])


def die(site: Site) -> Summary:
    """Die in every way, alone and among others, and return what it came to."""
    began = time.monotonic()
    worker = site.start_ready()
    alone = site.enqueue(*(tasks.die.call(how) for how in (*CRASHES, *ERRORS)))
    (poison,) = site.enqueue(tasks.die.call("segfault", times=99))
    # Errors first: a crash would cut them off, and the order of the two is left to chance.
    errors = site.enqueue(*(tasks.die_among_others.call(how) for how in ERRORS))
    site.wait_final([job.id for job in errors], within_s=SOON_S)
    culprits: list[str] = []
    neighbours: list[str] = []
    for how in CRASHES:
        # One after the other: a crash must not be hidden by that of the next culprit.
        beside = [job.id for job in site.enqueue(*(tasks.wait.call(0.5) for _ in range(3)))]
        for job_id in beside:
            site.wait_started(job_id)
        # Twice: once among the neighbours, which makes it a suspect; once alone, which is charged.
        (culprit,) = site.enqueue(tasks.die_among_others.call(how, times=2))
        site.wait_final([culprit.id], within_s=SOON_S)
        culprits.append(culprit.id)
        neighbours += beside
    site.wait_final([poison.id, *(job.id for job in alone), *neighbours], within_s=SOON_S)
    assert worker.exit_code is None, worker.report()
    events, dump = site.check(leftovers=site.drain(worker))
    found = dump.jobs
    check_alone([found[job.id] for job in alone], [found[job.id] for job in errors])
    check_poison(found[poison.id])
    check_among_others([found[job] for job in culprits], [found[job] for job in neighbours])
    return summarise("F03 deaths", events, dump, time.monotonic() - began)


def check_alone(alone: list[JobRecord], errors: list[JobRecord]) -> None:
    """One death of a process is one crash, one error is one error, and neither is more."""
    for record in alone[: len(CRASHES)]:
        charged = (outcomes(record), record.charges.crashes, record.charges.errors)
        assert charged == (["crashed", "succeeded"], 1, 0), record
    for record in (*alone[len(CRASHES) :], *errors):
        charged = (outcomes(record), record.charges.crashes, record.charges.errors)
        assert charged == (["failed", "succeeded"], 0, 1), record
        # A message and a traceback, each cut.
        assert len(msgspec.json.encode(record.error)) <= 2 * ERROR_BYTES_MAX, record.id


def check_poison(record: JobRecord) -> None:
    """A job that kills its process three times while alone in it is buried."""
    fate = (record.state, record.reason, record.charges.crashes)
    assert fate == (State.DEAD, Reason.POISON, 3), record


def check_among_others(culprits: list[JobRecord], neighbours: list[JobRecord]) -> None:
    """Only a crash alone is charged; those beside it run again and are charged nothing."""
    for record in culprits:
        assert (record.state, record.charges.crashes) == (State.COMPLETED, 1), record
    for record in neighbours:
        charged = (record.state, record.charges.errors, record.charges.crashes)
        assert charged == (State.COMPLETED, 0, 0), record
    assert any(len(record.attempts) > 1 for record in neighbours), "no crash hit a neighbour"


def outcomes(record: JobRecord) -> list[str | None]:
    """Return how each attempt that was read ended; a claim without a slot is handed back unread."""
    return [one.outcome for one in record.attempts if one.outcome != "interrupted"]
