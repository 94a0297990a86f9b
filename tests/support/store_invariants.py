"""Invariants of what the broker holds: I1, I6, I7, I8, I9, I12."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from penstock.broker.requests import QueueCounts
from penstock.core.lifecycle import FINAL, State
from tests.support.dump import Dump
from tests.support.ledger import Ledger
from tests.support.violation import Violation


def accepted_jobs_end(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I1: every accepted job is in one final state, or was deleted after it had one."""
    for job, events in ledger.jobs.items():
        if not events.accepted:
            continue
        record = dump.jobs.get(job)
        if record is None:
            if not any(at.event.state in FINAL for at in events.forgotten):
                yield Violation(job, "accepted, and the broker does not know it")
        elif record.state not in FINAL:
            tried = [(a.number, a.outcome) for a in record.attempts]
            yield Violation(job, f"accepted, and not final but {record.state}; attempts {tried}")


def every_job_is_in_one_place(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I6: no id is in two states, and no index says other than the record."""
    places: dict[str, list[State]] = defaultdict(list)
    for state, ids in dump.listed.items():
        for job, times in Counter(ids).items():
            places[job] += [state] * times
    for job, record in dump.jobs.items():
        if places[job] != [record.state]:
            found = [str(state) for state in places[job]]
            yield Violation(job, f"the record says {record.state}, the listings by state {found}")
    for job in sorted(set(places) - set(dump.jobs)):
        yield Violation(job, "a listing names it, and there is no record")
    yield from _ready_sets(dump)


def _ready_sets(dump: Dump) -> Iterator[Violation]:
    """Compare the ready sets with the records: what waits can be claimed, and nothing else can."""
    queued = {job for job, record in dump.jobs.items() if record.state is State.QUEUED}
    paused = {one.queue for one in dump.counts if one.paused}
    for job in dump.claimable:
        record = dump.jobs.get(job)
        if job not in queued:
            yield Violation(job, f"a claim handed it out, and it is {record and record.state}")
    for queue in sorted({dump.jobs[job].queue for job in queued} - set(dump.needs) - paused):
        stuck = sorted(job for job in queued if dump.jobs[job].queue == queue)
        yield Violation(stuck[0], f"{len(stuck)} queued in {queue!r}, and no ready set holds them")
    for queue in sorted(set(dump.needs) - {dump.jobs[job].queue for job in queued}):
        yield Violation(None, f"ready sets {dump.needs[queue]} of {queue!r}, and nothing is queued")


def counters_are_true(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I7: counters equal a recount of the records, none is negative, leases count their jobs."""
    recount: Counter[tuple[str, State]] = Counter(
        (record.queue, record.state) for record in dump.jobs.values()
    )
    for one in dump.counts:
        for state in State:
            said = counter(one, state)
            true = recount.pop((one.queue, state), 0)
            if said != true:
                yield Violation(None, f"{one.queue!r} counts {said} {state}, the records {true}")
    for (queue, state), true in recount.items():
        yield Violation(None, f"{true} {state} in {queue!r}, a queue that has no counters")
    running = sum(record.state is State.RUNNING for record in dump.jobs.values())
    under = sum(lease.running for lease in dump.leases)
    # Jobs may still run under a closed lease, until they are reclaimed; the reverse is impossible.
    if under > running:
        yield Violation(None, f"open leases count {under} running jobs, the records {running}")


def counter(counts: QueueCounts, state: State) -> int:
    """Return the counter of one state."""
    value = getattr(counts, state.value)
    assert isinstance(value, int)
    return value


def failed_enqueues_do_not_run(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I8: a definite refusal never runs and is never stored; an unknown one makes one job at most.

    A later success with the same id makes it an accepted job.
    """
    by_key: dict[str, set[str]] = defaultdict(set)
    for job, events in ledger.jobs.items():
        for at in events.refused:
            if at.event.key is not None:
                by_key[at.event.key].add(job)
        if events.accepted or not events.refused:
            continue
        if all(at.event.kind == "definite" for at in events.refused):
            if job in dump.jobs:
                yield Violation(job, f"refused for certain, and stored: {dump.jobs[job].state}")
            if events.starts:
                yield Violation(job, f"refused for certain, and started: {events.starts[0].event}")
    for key, jobs in by_key.items():
        stored = sorted(job for job in jobs if job in dump.jobs)
        if len(stored) > 1:
            yield Violation(stored[0], f"key {key!r} made {len(stored)} jobs: {stored}")


def keys_name_one_job(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I9: one idempotency key, one job; other arguments under the same key are refused."""
    answered: dict[str, set[str]] = defaultdict(set)
    digests: dict[str, set[str]] = defaultdict(set)
    for job, events in ledger.jobs.items():
        for at in events.accepted:
            if at.event.key is not None:
                answered[at.event.key].add(job)
                digests[at.event.key].add(at.event.digest or "")
    for key, jobs in answered.items():
        if len(jobs) > 1:
            yield Violation(min(jobs), f"key {key!r} was answered with {sorted(jobs)}")
        if len(digests[key]) > 1:
            yield Violation(min(jobs), f"key {key!r} accepted other arguments: {digests[key]}")
    stored = Counter((r.spec.task, r.spec.key) for r in dump.jobs.values() if r.spec.key)
    for (task, key), times in stored.items():
        if times > 1:
            yield Violation(None, f"{times} jobs of {task!r} hold the key {key!r}")


def nothing_is_left_behind(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I12: after a drain no lease, running job, process, file or transaction is left."""
    if dump.leftovers is None:
        return
    for line in dump.leftovers:
        yield Violation(None, line)
    for lease in dump.leases:
        yield Violation(None, f"lease {lease.id} of {lease.owner} is open, {lease.running} running")
    for job, record in dump.jobs.items():
        if record.state is State.RUNNING:
            yield Violation(job, f"still running after the drain: {record.attempts[-1:]}")
