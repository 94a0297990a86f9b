"""Invariants of what ran, when, and whose writes were kept: I2, I3, I4, I5, I10."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from penstock.core.job import ATTEMPTS_KEPT, AttemptRecord, JobRecord, Reason
from penstock.core.lifecycle import State
from tests.support.dump import Dump
from tests.support.history import CancelReplied, FinishReplied, Requeued
from tests.support.ledger import At, JobHistory, Ledger
from tests.support.violation import Violation

#: Outcomes that only something outside the job brings about: they need a fault as their cause.
CAUSED = frozenset({"lost", "crashed", "interrupted"})
#: Outcomes of an attempt whose user code ran.
RAN = frozenset({"succeeded", "failed", "retry_asked", "snooze_asked", "discarded", "timed_out"})
#: The outcome of an attempt that was sent to other slots before any user code ran.
MOVED = "does_not_fit"
#: Outcomes after which the same budget goes on to another attempt, or may.
REPEATED = CAUSED | {
    "failed", "retry_asked", "snooze_asked", "timed_out", "task_unknown", "out_of_memory", MOVED
}  # fmt: skip


def completed_jobs_ran(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I2: a completed job has a start and a side effect of the attempt that it names."""
    for job, record in dump.jobs.items():
        events = ledger.jobs.get(job)
        if record.state is not State.COMPLETED or events is None:
            continue
        final = _final_attempt(record)
        if final is None:
            yield Violation(job, f"completed, and no attempt succeeded: {_told(record)}")
            continue
        if events.start_of(final.number) is None:
            yield Violation(job, f"completed by attempt {final.number}, which never started")
        if not any(at.event.attempt == final.number for at in events.effects):
            yield Violation(job, f"completed by attempt {final.number}, which had no effect")
        end = events.end_of(final.number)
        if end is None or end.event.how != "returned":
            how = "did not end" if end is None else f"ended with {end.event.how}"
            yield Violation(job, f"completed by attempt {final.number}, whose user code {how}")


def starts_are_accounted_for(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I3: each start is one recorded attempt, and each further attempt has its cause."""
    for job, events in ledger.jobs.items():
        record = dump.jobs.get(job)
        for attempt, times in Counter(at.event.attempt for at in events.starts).items():
            if times > 1:
                yield Violation(job, f"attempt {attempt} started {times} times")
        if record is None:
            continue
        recorded = {attempt.number: attempt for attempt in record.attempts}
        whole = len(record.attempts) < ATTEMPTS_KEPT
        for at in events.starts:
            if whole and at.event.attempt not in recorded:
                yield Violation(job, f"{at.event} is in no attempt record: {_told(record)}")
        yield from _causes(ledger, events, record)


def _causes(ledger: Ledger, events: JobHistory, record: JobRecord) -> Iterator[Violation]:
    for index, attempt in enumerate(record.attempts):
        start = events.start_of(attempt.number)
        pids = {attempt.pid} | ({start.event.pid} if start else set())
        later = (at.place for at in events.starts if at.event.attempt > attempt.number)
        next_place = next(later, None)
        excused = any(ledger.is_excused(pid, before=next_place) for pid in pids)
        # Handed back before user code ran: its slot was gone by the time the claim was answered.
        unread = attempt.outcome == "interrupted" and start is None
        if attempt.outcome in CAUSED and not excused and not unread:
            cause = f"attempt {attempt.number} was {attempt.outcome}, and no fault hit pid {pids}"
            yield Violation(record.id, cause)
        # Its process stood still from before its first line until its limit had passed.
        unrun = attempt.outcome == "timed_out" and excused
        if attempt.outcome in RAN and start is None and not unrun:
            yield Violation(record.id, f"attempt {attempt.number} {attempt.outcome}, never started")
        if attempt.outcome == MOVED and start is not None:
            yield Violation(record.id, f"attempt {attempt.number} {attempt.outcome}, yet it began")
        is_last = index == len(record.attempts) - 1
        if not is_last and attempt.outcome not in REPEATED and not events.requeues:
            evidence = f"attempt {attempt.number} was {attempt.outcome}, yet another followed"
            yield Violation(record.id, f"{evidence}: {_told(record)}")


def writes_belong_to_their_attempt(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I4: result and progress are those of the final attempt; no stale write was accepted."""
    for job, events in ledger.jobs.items():
        record = dump.jobs.get(job)
        if record is not None:
            yield from _stored_writes(events, record)
        yield from _accepted_in_order(job, events)
        yield from _accepted_and_told_late(job, events, record)


def _stored_writes(events: JobHistory, record: JobRecord) -> Iterator[Violation]:
    final = _final_attempt(record)
    result = _attempt_named_in(record.result)
    if result is not None and (final is None or final.number != result):
        by = None if final is None else final.number
        yield Violation(record.id, f"the result is of attempt {result}, completed by {by}")
    if final is not None and final != record.attempts[-1]:
        yield Violation(record.id, f"attempt {final.number} succeeded, not last: {_told(record)}")
    progress = _attempt_named_in(record.progress)
    noted = {at.event.attempt for at in events.notes}
    if progress is None or final is None or final.number not in noted:
        return
    if progress != final.number:
        evidence = f"the progress is of attempt {progress}, not of {final.number}"
        yield Violation(record.id, evidence)


def _accepted_in_order(job: str, events: JobHistory) -> Iterator[Violation]:
    settled: int | None = None
    replies: list[At[FinishReplied] | At[Requeued]] = [
        at for at in events.replies if at.event.reply == "ok" and not at.event.told_late
    ]
    for at in sorted([*replies, *events.requeues], key=lambda one: one.place):
        reply = at.event
        if isinstance(reply, Requeued):
            settled = None
            continue
        newer = [s for s in events.starts if s.place < at.place and s.event.attempt > reply.attempt]
        if newer:
            evidence = (
                f"a settlement of attempt {reply.attempt} was accepted after {newer[0].event}"
            )
            yield Violation(job, evidence)
        if settled is not None:
            evidence = f"settled by attempt {settled}, and again by attempt {reply.attempt}"
            yield Violation(job, evidence)
        settled = reply.attempt if reply.final else None


def _accepted_and_told_late(
    job: str, events: JobHistory, record: JobRecord | None
) -> Iterator[Violation]:
    """Compare with the record, not with places: the next attempt may have started meanwhile."""
    replies = [at.event for at in events.replies if at.event.reply == "ok" and at.event.told_late]
    recorded = {} if record is None else {one.number: one.outcome for one in record.attempts}
    for reply in replies:
        found = recorded.get(reply.attempt, reply.outcome)
        if reply.outcome is not None and found != reply.outcome:
            evidence = f"the record of attempt {reply.attempt} says {found}, yet {reply.outcome}"
            yield Violation(job, f"{evidence} was accepted for it")
    final = [reply.attempt for reply in replies if reply.final]
    if len(final) > 1 and not events.requeues:
        yield Violation(job, f"settled for good by attempts {final}")


def attempts_do_not_overlap(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I5: one live lease per job: attempts follow each other, unless a fault hit the older one."""
    for job, events in ledger.jobs.items():
        for older, newer in zip(events.starts, events.starts[1:], strict=False):
            if newer.event.attempt < older.event.attempt:
                # A process stopped between claim and first line writes it when it goes on.
                if not ledger.is_excused(newer.event.pid, before=newer.place):
                    yield Violation(job, f"{newer.event} came after {older.event}")
                continue
            end = events.end_of(older.event.attempt)
            ended = end is not None and end.place < newer.place
            if not ended and not ledger.is_excused(older.event.pid, before=newer.place):
                yield Violation(job, f"{newer.event} while {older.event} still ran")
    for job, record in dump.jobs.items():
        numbers = [attempt.number for attempt in record.attempts]
        if numbers != sorted(set(numbers)):
            yield Violation(job, f"attempt numbers do not rise: {numbers}")
        still = [attempt.number for attempt in record.attempts if attempt.ended_at is None]
        if len(still) > (record.state is State.RUNNING):
            yield Violation(job, f"{record.state}, and attempts {still} have not ended")


def cancelled_jobs_stay_cancelled(ledger: Ledger, dump: Dump) -> Iterator[Violation]:
    """I10: answered `cancelled` a job does not run then or later; `too_late` left its own state."""
    for job, events in ledger.jobs.items():
        if events.requeues:
            continue
        record = dump.jobs.get(job)
        answers = {at.event.answer for at in events.cancels}
        for at in events.cancels:
            if at.event.answer == "cancelled":
                yield from _runs_although_cancelled(ledger, events, at.event)
        if record is None:
            continue
        if "cancelled" in answers and record.state is not State.CANCELLED:
            yield Violation(job, f"answered cancelled, and it ended {record.state}")
        by_us = record.state is State.CANCELLED and record.reason is Reason.BY_OPERATOR
        if by_us and answers == {"too_late"}:
            yield Violation(job, "answered too_late, and the cancel ended it all the same")


def _runs_although_cancelled(
    ledger: Ledger, events: JobHistory, cancel: CancelReplied
) -> Iterator[Violation]:
    # Stamps, not places: the answer reaches the history some time after it was given.
    for at in events.starts:
        start = at.event
        end = events.end_of(start.attempt)
        if start.at_ns > cancel.at_ns:
            yield Violation(start.job, f"answered cancelled, then {start}")
        elif (end is None or end.event.at_ns > cancel.at_ns) and not ledger.is_excused(start.pid):
            yield Violation(start.job, f"answered cancelled while it ran: {start}")


def _final_attempt(record: JobRecord) -> AttemptRecord | None:
    succeeded = [attempt for attempt in record.attempts if attempt.outcome == "succeeded"]
    return succeeded[-1] if succeeded else None


def _attempt_named_in(stored: msgspec.Raw | None) -> int | None:
    """Return N of `{"attempt": N, ...}`, None for anything else."""
    if stored is None:
        return None
    value = msgspec.json.decode(stored)
    attempt = value.get("attempt") if isinstance(value, dict) else None
    return attempt if isinstance(attempt, int) else None


def _told(record: JobRecord) -> str:
    return ", ".join(f"{attempt.number}:{attempt.outcome}" for attempt in record.attempts)
