"""What the demo tells at its end, read from the broker and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from penstock.cli.shapes import error_line
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from penstock.demo.analysis import Report
from penstock.demo.tasks import Chain
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.broker.protocol import Inspector

#: Jobs in one page of the walk; a page is one read.
_PAGE = 500


class DemoFailed(PenstockError):
    """A job of the demo did not end as it should; the message names it."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the job whose runner was killed. Durations in milliseconds.

    Attributes:
        killed_pid: process that got SIGKILL; the pid of the first attempt.
        pids: processes of its attempts, in order.
        noticed_ms: from the signal until the first attempt was settled.
        restarted_ms: from the signal until the next attempt was claimed.
        completed_ms: from the signal until the job was completed.
        resumed_at: files that the checkpoint had done, of `files`.
    """

    job_id: str
    killed_pid: int
    pids: tuple[int, ...]
    outcomes: tuple[str | None, ...]
    noticed_ms: int
    restarted_ms: int
    completed_ms: int
    resumed_at: int
    files: int


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A job that failed on purpose: `errors` attempts failed; `outcome` is its state or reason."""

    job_id: str
    attempts: int
    errors: int
    outcome: str
    last_error: str | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one demo.

    Attributes:
        states: state -> jobs, from the broker's counters.
        attempts: executions of all jobs together.
        outcomes: outcome of an attempt -> how many; "interrupted": given back uncharged, most often
            before it began, as when its slot goes to a child.
        retried: jobs with more than one attempt.
        neighbours: jobs that ran in the killed runner beside the killed job, by id; they were
            released without a charge and ran again alone in a child.
        processes: distinct processes in which attempts ran.
        run_ms: from the first enqueue to the last end of a job.
        merge_id: the merge job; `report` is its result.
    """

    jobs: int
    states: dict[str, int]
    attempts: int
    outcomes: dict[str, int]
    retried: int
    neighbours: tuple[str, ...]
    processes: int
    run_ms: int
    recovery: Recovery
    unsteady: Trouble
    hopeless: Trouble
    merge_id: str
    report: Report


def summarise(broker: Inspector) -> Summary:
    """Read every job of the demo's broker and return the numbers.

    Raises:
        DemoFailed: a job that the demo enqueues is missing, or has not ended as it should.

    Cost: one read per 500 jobs, each with its attempts.
    """
    records = list(_walk(broker))
    attempts = [attempt for record in records for attempt in record.attempts]
    states: Counter[str] = Counter()
    for counts in broker.counts():
        states.update({state.value: getattr(counts, state) for state in State})
    merge = _only(records, "merge")
    killed = _only(records, "fingerprint")
    return Summary(
        jobs=len(records),
        states={state: count for state, count in states.items() if count},
        attempts=sum(record.claim_number for record in records),
        outcomes=dict(Counter(attempt.outcome or "running" for attempt in attempts)),
        retried=sum(record.claim_number > 1 for record in records),
        neighbours=tuple(
            record.id for record in records if record is not killed and _crashed(record)
        ),
        processes=len({(attempt.worker, attempt.pid) for attempt in attempts}),
        run_ms=max(record.finished_at or 0 for record in records)
        - min(record.enqueued_at for record in records),
        recovery=_recovery(killed, _only(records, "kill_noted")),
        unsteady=_trouble(_only(records, "unsteady")),
        hopeless=_trouble(_only(records, "hopeless")),
        merge_id=merge.id,
        report=msgspec.json.decode(_result(merge), type=Report),
    )


def _walk(broker: Inspector) -> Iterator[JobRecord]:
    from penstock.broker.requests import JobFilter

    before = None
    while True:
        page = broker.list_jobs(JobFilter(), limit=_PAGE, before=before)
        yield from page.jobs
        before = page.next_before
        if before is None:
            return


def _only(records: list[JobRecord], task: str) -> JobRecord:
    found = [r for r in records if r.spec.task == f"penstock.demo.tasks.{task}"]
    if len(found) != 1:
        raise DemoFailed(f"{len(found)} jobs of task {task} are in the broker, where 1 was put")
    return found[0]


def _result(record: JobRecord) -> msgspec.Raw:
    if record.state is not State.COMPLETED or record.result is None:
        why = error_line(record.error) or record.reason or "no result"
        raise DemoFailed(f"job {record.id} ({record.spec.task}) is {record.state}: {why}")
    return record.result


def _crashed(record: JobRecord) -> bool:
    return any(attempt.outcome == "crashed" for attempt in record.attempts)


def _recovery(killed: JobRecord, noted: JobRecord) -> Recovery:
    note = msgspec.json.decode(noted.spec.payload)
    chain = msgspec.json.decode(_result(killed), type=Chain)
    first, *later = killed.attempts
    if not later or first.ended_at is None or killed.finished_at is None:
        raise DemoFailed(f"job {killed.id} has {len(killed.attempts)} attempts, where 2 were due")
    resumed = Chain(0, "")
    if killed.checkpoint is not None:
        resumed = msgspec.json.decode(killed.checkpoint, type=Chain)
    return Recovery(
        job_id=killed.id,
        killed_pid=note["pid"],
        pids=tuple(attempt.pid for attempt in killed.attempts),
        outcomes=tuple(attempt.outcome for attempt in killed.attempts),
        noticed_ms=first.ended_at - note["killed_at"],
        restarted_ms=later[0].started_at - note["killed_at"],
        completed_ms=killed.finished_at - note["killed_at"],
        resumed_at=resumed.done,
        files=chain.done,
    )


def _trouble(record: JobRecord) -> Trouble:
    return Trouble(
        job_id=record.id,
        attempts=record.claim_number,
        errors=record.charges.errors,
        outcome=record.reason or record.state,
        last_error=error_line(record.error),
    )
