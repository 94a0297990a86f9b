"""`penstock explain ID`: why a job does not run yet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.command import Answer
from penstock.cli.explanation import TIMED, Candidate, Explanation, Scene, explain
from penstock.cli.findings import dead_workers
from penstock.cli.session import Session
from penstock.cli.sizes import size
from penstock.cli.times import span
from penstock.cli.unheld import is_live
from penstock.core.lifecycle import State
from penstock.core.wording import counted

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker
    from penstock.core.ids import JobId
    from penstock.core.job import JobRecord

#: Jobs that are looked at: of those that wait and are older, of the newer ones, and of those that
#: run; four calls each.
_LOOKED_AT_MAX = 2_000
#: Tasks whose run times are asked for, and jobs of each.
_TASKS_MAX = 20
_RUNS_MAX = 20


def explain_job(
    session: Session,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The whole id of the job.")],
) -> Answer:
    """Tell why a job does not run.

    What it needs and how that is known, which live workers serve its queue, what they have free and
    whether they could hold it, what stands in its way, how many jobs are ahead, and when it may
    start. Every blocker that is named must go before the job starts. Where none is, it waits for
    its turn.

    What is free is known as far as the broker tells: the budget on a worker's lease, less what the
    jobs that run there reserve. It is called an estimate where some of that is a guess.

    JSON: one `Explanation`.
    """
    from penstock.core.ids import check_job_id

    checked = check_job_id(job_id)
    with session.broker() as broker:
        scene = _scene(broker, checked)
        found = explain(scene)
        if set(found.kinds) & TIMED:
            found = explain(_with_run_times(broker, scene))
    if session.output.as_json:
        session.output.document(found)
    else:
        session.output.fields(_fields(found))
    return None


def _scene(broker: Broker, job_id: JobId) -> Scene:
    """Ask the broker for what is around a job."""
    from penstock.client.flow import known

    record = known(broker.get(job_id), job_id)
    leases, counts = broker.leases(), broker.counts()
    dead = dead_workers(leases)
    queued, has_all_queued = _queued(broker, job_id)
    running, has_all_running = _jobs(broker, State.RUNNING)
    # A record that cannot be read has no task, and a foreign one any.
    named = (one.spec.task for one in (record, *running, *queued))
    tasks = dict.fromkeys(one for one in named if one.isprintable() and 0 < len(one) <= _NAME_MAX)
    return Scene(
        record=record,
        counts=next((one for one in counts if one.queue == record.queue), None),
        leases=[one for one in leases if is_live(one) and one.owner.worker not in dead],
        footprints=broker.footprints(list(tasks)[:_FOOTPRINTS_MAX]),
        now_ms=time.time_ns() // 1_000_000,
        paused=frozenset(one.queue for one in counts if one.paused),
        queued=queued,
        running=running,
        is_whole=has_all_queued and has_all_running,
    )


#: Tasks whose footprints are asked for, in one call, and characters of a name.
_FOOTPRINTS_MAX = 100
_NAME_MAX = 128


def _queued(broker: Broker, job_id: JobId) -> tuple[list[JobRecord], bool]:
    """Return jobs that wait for a worker, and whether these are all.

    Those that are older than the job first, since most of them go before it.
    """
    older, has_older = _jobs(broker, State.QUEUED, before=job_id)
    newer, has_newer = _jobs(broker, State.QUEUED, down_to=job_id)
    return [*older, *newer], has_older and has_newer


def _jobs(
    broker: Broker, state: State, *, before: JobId | None = None, down_to: str = ""
) -> tuple[list[JobRecord], bool]:
    """Return jobs in a state, newest first, and whether these are all.

    Args:
        broker: is asked, a page at a time.
        state: in which they are.
        before: only older ones.
        down_to: only this one and newer ones.
    """
    from penstock.broker.requests import BATCH_MAX, JobFilter

    found: list[JobRecord] = []
    while len(found) < _LOOKED_AT_MAX:
        page = broker.list_jobs(JobFilter(states=(state,)), limit=BATCH_MAX, before=before)
        kept = [one for one in page.jobs if one.id >= down_to]
        found += kept
        before = page.next_before
        if before is None or len(kept) < len(page.jobs):
            return found, True
    return found, False


def _with_run_times(broker: Broker, scene: Scene) -> Scene:
    """Ask for how long the last jobs ran of the tasks that matter."""
    import statistics

    import msgspec

    from penstock.broker.requests import JobFilter

    times: dict[str, int] = {}
    tasks = dict.fromkeys(one.spec.task for one in (*scene.running, *scene.queued))
    for task in list(tasks)[:_TASKS_MAX]:
        where = JobFilter(states=(State.COMPLETED,), task=task)
        page = broker.list_jobs(where, limit=_RUNS_MAX, before=None)
        last = [one.attempts[-1] for one in page.jobs if one.attempts]
        runs = [one.ended_at - one.started_at for one in last if one.ended_at is not None]
        if runs:
            times[task] = round(statistics.median(runs))
    return msgspec.structs.replace(scene, runs_ms=times)


def _fields(found: Explanation) -> Iterator[tuple[str, str]]:
    yield "id", found.id
    yield "state", found.state
    yield "needs", found.needs
    for one in found.workers:
        yield "worker", _worker(one)
    for blocker in found.blockers:
        yield "blocker", blocker
    if not found.blockers:
        waits = counted(found.waiting, "job is", "jobs are")
        yield "blocker", f"none: it waits for its turn, {waits} queued there"
    if found.kinds not in {("final",), ("running",)}:
        least = "at least " if found.ahead_at_least else ""
        yield "ahead", f"{least}{counted(found.ahead, 'job', 'jobs')} of its queue"
        in_time = "" if not found.starts_in_ms else f"in {span(found.starts_in_ms)}, "
        yield "start", f"{in_time}{found.start}"


def _worker(one: Candidate) -> str:
    holds = {True: "could hold it", False: "cannot hold it", None: "does not say"}[one.holds]
    parts = []
    if one.memory_bytes is not None and one.free_bytes is not None:
        parts.append(f"{size(max(0, one.free_bytes))} of {size(one.memory_bytes)}")
    if one.slots is not None and one.free_slots is not None:
        parts.append(f"{max(0, one.free_slots)} of {one.slots} slots")
    free = f", free: {', '.join(parts)}" if parts else ""
    lacks = "" if one.lacks is None else f", lacks {one.lacks}"
    return f"{one.worker} {holds}{lacks}{free}{' (an estimate)' if one.estimated else ''}"
