"""Each invariant of the checker, shown one breach made by hand and one lawful history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from penstock.broker.requests import LeaseFacts, Owner, QueueCounts
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import AttemptRecord, JobRecord, JobSpec, Reason
from penstock.core.lifecycle import State
from tests.support import history as h
from tests.support.checker import INVARIANTS, check
from tests.support.dump import Dump

JOB = "0" * 31 + "1"
OTHER = "0" * 31 + "2"
KEYED = JobSpec(task="act", payload=msgspec.Raw(b"{}"), key="k")


def attempt(number: int, outcome: str | None = "succeeded", pid: int = 10) -> AttemptRecord:
    """Return an attempt's record."""
    ended_at = None if outcome is None else number * 10 + 5
    return AttemptRecord(number, "w", pid, number * 10, ended_at, outcome)


def record(job: str = JOB, **changes: object) -> JobRecord:
    """Return a job that completed in its first attempt, but for `changes`."""
    whole = JobRecord(
        id=JobId(job),
        queue="q",
        spec=JobSpec(task="act", payload=msgspec.Raw(b"{}")),
        state=State.COMPLETED,
        enqueued_at=1,
        claim_number=1,
        attempts=(attempt(1),),
        result=msgspec.Raw(b'{"attempt": 1}'),
    )
    return msgspec.structs.replace(whole, **changes)


def dump(*records: JobRecord, **changes: object) -> Dump:
    """Return a dump that agrees with `records`, but for `changes`."""
    counts: dict[str, Any] = {
        state.value: sum(one.state is state for one in records)
        for state in State
        if any(one.state is state for one in records)
    }
    whole = Dump(
        jobs={one.id: one for one in records},
        listed={state: tuple(o.id for o in records if o.state is state) for state in State},
        counts=(QueueCounts(queue="q", **counts),),
        leases=(),
        needs={"q": ("shared",)} if any(o.state is State.QUEUED for o in records) else {},
        claimable=tuple(one.id for one in records if one.state is State.QUEUED),
        leftovers=(),
    )
    return msgspec.structs.replace(whole, **changes)


def ran(number: int = 1, pid: int = 10, job: str = JOB) -> list[h.Event]:
    """Return the history of an attempt that returned."""
    here: dict[str, Any] = {"job": job, "attempt": number, "pid": pid}
    return [
        h.Started(at_ns=number * 10, **here),
        h.SideEffect(at_ns=number * 10 + 1, **here),
        h.Ended(at_ns=number * 10 + 2, how="returned", **here),
    ]


ACCEPTED = h.Accepted(at_ns=1, job=JOB)
LEASE = LeaseFacts(
    id=LeaseId("1"), queues=("q",), owner=Owner("w", "h", "b", 1, 1, 1), expires_in_ms=1, running=0
)
TOLD_LATE = h.FinishReplied(job=JOB, attempt=1, reply="ok", told_late=True, outcome="succeeded")
CANCELLED: dict[str, Any] = {"state": State.CANCELLED, "reason": Reason.BY_OPERATOR, "result": None}

#: name -> (invariant, history, dump)
BREACHES: dict[str, tuple[str, Sequence[h.Event], Dump]] = {
    "lost": ("I1", [ACCEPTED, *ran()], dump()),
    "not final": ("I1", [ACCEPTED], dump(record(state=State.QUEUED, attempts=()))),
    "no start": ("I2", [ACCEPTED], dump(record())),
    "no effect": ("I2", [ACCEPTED, ran()[0], ran()[2]], dump(record())),
    "raised, yet completed": (
        "I2",
        [ACCEPTED, *ran()[:2], h.Ended(at_ns=12, job=JOB, attempt=1, pid=10, how="ValueError")],
        dump(record()),
    ),
    "started twice": ("I3", [ACCEPTED, *ran(), *ran()], dump(record())),
    "start without record": ("I3", [ACCEPTED, *ran(), *ran(2)], dump(record())),
    "lost without a fault": (
        "I3",
        [ACCEPTED, *ran(), *ran(2)],
        dump(record(attempts=(attempt(1, "lost"), attempt(2)), result=None)),
    ),
    "went on after success": (
        "I3",
        [ACCEPTED, *ran(), *ran(2)],
        dump(record(attempts=(attempt(1), attempt(2)), result=None)),
    ),
    "began, and was sent elsewhere": (
        "I3",
        [ACCEPTED, *ran(), *ran(2)],
        dump(record(attempts=(attempt(1, "does_not_fit"), attempt(2)), result=None)),
    ),
    "foreign result": (
        "I4",
        [ACCEPTED, *ran()],
        dump(record(result=msgspec.Raw(b'{"attempt":2}'))),
    ),
    "foreign progress": (
        "I4",
        [ACCEPTED, h.Noted(at_ns=2, job=JOB, attempt=1), *ran()],
        dump(record(progress=msgspec.Raw(b'{"attempt":2}'))),
    ),
    "stale settlement": (
        "I4",
        [ACCEPTED, *ran(), *ran(2), h.FinishReplied(job=JOB, attempt=1, reply="ok")],
        dump(record()),
    ),
    "stale settlement, told late": (
        "I4",
        [ACCEPTED, *ran(), *ran(2), TOLD_LATE],
        dump(record(attempts=(attempt(1, "lost"), attempt(2)), result=None)),
    ),
    "settled twice, told late": (
        "I4",
        [ACCEPTED, *ran(), TOLD_LATE, TOLD_LATE],
        dump(record()),
    ),
    "overlap": (
        "I5",
        [ACCEPTED, *ran()[:1], *ran(2, pid=11)],
        dump(record(attempts=(attempt(1, "lost"), attempt(2)), result=None)),
    ),
    "ended state, open attempt": ("I5", [], dump(record(attempts=(attempt(1, None),)))),
    "two states": (
        "I6",
        [],
        dump(record(), listed={State.COMPLETED: (JOB,), State.DEAD: (JOB,)}),
    ),
    "listed without record": ("I6", [], dump(listed={State.DEAD: (JOB,)})),
    "claimable though final": ("I6", [], dump(record(), claimable=(JOB,))),
    "queued, in no set": ("I6", [], dump(record(state=State.QUEUED), needs={})),
    "a set of nothing": ("I6", [], dump(record(), needs={"q": ("shared",)})),
    "counter": ("I7", [], dump(record(), counts=(QueueCounts(queue="q", completed=2),))),
    "negative counter": ("I7", [], dump(counts=(QueueCounts(queue="q", running=-1),))),
    "no counters": ("I7", [], dump(record(), counts=())),
    "a lease that counts too many": (
        "I7",
        [],
        dump(record(), leases=(msgspec.structs.replace(LEASE, running=1),)),
    ),
    "refused, yet stored": ("I8", [h.EnqueueFailed(job=JOB, kind="definite")], dump(record())),
    "refused, yet started": ("I8", [h.EnqueueFailed(job=JOB, kind="definite"), *ran()], dump()),
    "unknown, made twice": (
        "I8",
        [h.EnqueueFailed(job=job, kind="unknown", key="k") for job in (JOB, OTHER)],
        dump(record(), record(OTHER)),
    ),
    "one key, two jobs": (
        "I9",
        [h.Accepted(job=JOB, key="k"), h.Accepted(job=OTHER, key="k")],
        dump(),
    ),
    "one key, two arguments": (
        "I9",
        [h.Accepted(job=JOB, key="k", digest="1"), h.Accepted(job=JOB, key="k", digest="2")],
        dump(),
    ),
    "one key, stored twice": ("I9", [], dump(record(spec=KEYED), record(OTHER, spec=KEYED))),
    "cancelled, then started": (
        "I10",
        [h.CancelReplied(at_ns=5, job=JOB, answer="cancelled"), *ran()],
        dump(record(**CANCELLED)),
    ),
    "cancelled while it ran": (
        "I10",
        [ran()[0], h.CancelReplied(at_ns=11, job=JOB, answer="cancelled"), *ran()[1:]],
        dump(record(**CANCELLED)),
    ),
    "cancelled, yet completed": (
        "I10",
        [*ran(), h.CancelReplied(at_ns=99, job=JOB, answer="cancelled")],
        dump(record()),
    ),
    "too late, yet cancelled": (
        "I10",
        [*ran(), h.CancelReplied(at_ns=99, job=JOB, answer="too_late")],
        dump(record(**CANCELLED)),
    ),
    "left process": ("I12", [], dump(leftovers=("pid 1",))),
    "left lease": ("I12", [], dump(leases=(LEASE,))),
    "left running": ("I12", [], dump(record(state=State.RUNNING))),
}


@pytest.mark.parametrize("name", BREACHES)
def test_breach_is_reported_with_its_invariant(name: str) -> None:
    """A history or dump that breaks one promise is told as a breach of that promise."""
    invariant, events, found = BREACHES[name]
    assert invariant in {violation.invariant for violation in check(events, found)}


def test_every_invariant_has_a_breach() -> None:
    """No rule of the checker goes without a breach that it is shown."""
    assert {invariant for invariant, _, _ in BREACHES.values()} == set(INVARIANTS)


KILLED = h.Fault(at_ns=15, kind="sigkill", pids=(10,))
LAWFUL: dict[str, Callable[[], tuple[Sequence[h.Event], Dump]]] = {
    "one run": lambda: ([ACCEPTED, *ran()], dump(record())),
    "lost to a fault, then run": lambda: (
        [ACCEPTED, *ran()[:2], KILLED, *ran(2, pid=11)],
        dump(
            record(
                attempts=(attempt(1, "lost"), attempt(2, pid=11)),
                result=msgspec.Raw(b'{"attempt": 2}'),
            )
        ),
    ),
    "failed, and told so after the next start": lambda: (
        [
            ACCEPTED,
            *ran(),
            *ran(2),
            h.FinishReplied(job=JOB, attempt=2, reply="ok", told_late=True, outcome="succeeded"),
            h.FinishReplied(
                job=JOB, attempt=1, reply="ok", final=False, told_late=True, outcome="failed"
            ),
        ],
        dump(record(attempts=(attempt(1, "failed"), attempt(2)), result=None)),
    ),
    "deleted after its end": lambda: (
        [ACCEPTED, *ran(), h.Forgotten(job=JOB, state="completed")],
        dump(),
    ),
    "cancelled before it ran": lambda: (
        [ACCEPTED, h.CancelReplied(at_ns=5, job=JOB, answer="cancelled")],
        dump(record(attempts=(), **CANCELLED)),
    ),
}


@pytest.mark.parametrize("name", LAWFUL)
def test_lawful_history_passes(name: str) -> None:
    """What the promises allow is no violation."""
    events, found = LAWFUL[name]()
    assert check(events, found) == []
