"""Sending on_dead jobs: until the broker has answered, and each of them once."""

from __future__ import annotations

import asyncio

import msgspec

from penstock.broker.clock import SystemClock
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Claimed, JobSpec, Reason
from penstock.core.manifest import TaskFacts
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Applied, Bury, Complete
from penstock.testing.faulty import Call, Fault, FaultyBroker
from penstock.worker.dead_notices import DeadNotices
from penstock.worker.repeats import Settled

TASKS = {
    "t": TaskFacts(name="t", queue="home", policy=POLICY_DEFAULT, on_dead="notice"),
    "quiet": TaskFacts(name="quiet", queue="home", policy=POLICY_DEFAULT),
    "notice": TaskFacts(name="notice", queue="mail", policy=POLICY_DEFAULT),
}


def settled(number: int, task: str = "t", applied: Applied = Applied.APPLIED) -> Settled:
    """Return a buried job and what became of its burial."""
    job = Claimed(
        id=JobId(f"{number:032x}"),
        queue="home",
        spec=JobSpec(task=task, payload=msgspec.Raw(b"{}")),
        fence=Fence("f" * 32),
        lease=LeaseId("e" * 32),
        claim_number=1,
        claimed_at=1,
    )
    return job, Bury(id=job.id, fence=job.fence, outcome="failed", reason=Reason.POISON), applied


def send(*several: Settled, faults: tuple[Fault, ...] = ()) -> tuple[MemoryBroker, list[str]]:
    """Send over a broker whose first calls fail as given; return it and the verbs called."""
    memory = MemoryBroker(SystemClock())

    def plan(call: Call) -> Fault:
        return faults[call.number - 1] if call.number <= len(faults) else Fault.NONE

    faulty = FaultyBroker(memory, plan)
    asyncio.run(DeadNotices(ThreadedBroker(faulty), TASKS.get).send(several))
    return memory, [call.verb for call in faulty.calls]


def test_each_burial_that_was_applied_is_told_once() -> None:
    """Two of four settled jobs are buried and applied: two jobs in the target's queue."""
    job, _, _ = settled(4)
    complete = Complete(id=job.id, fence=job.fence, outcome="succeeded", result=None)
    memory, verbs = send(
        settled(1), settled(2), settled(3, applied=Applied.STALE), (job, complete, Applied.APPLIED)
    )
    assert [(c.queue, c.queued) for c in memory.counts()] == [("mail", 2)]
    assert verbs == ["register", "enqueue"]


def test_nothing_is_asked_where_nothing_is_to_tell() -> None:
    """A task without on_dead costs no call."""
    assert send(settled(1, task="quiet"))[1] == []


def test_lost_answers_make_no_second_job() -> None:
    """Refused, then lost answers: it is sent again, and there is one job."""
    faults = (Fault.REFUSE, Fault.NONE, Fault.LOSE_REPLY)
    memory, verbs = send(settled(1), faults=faults)
    assert [c.queued for c in memory.counts()] == [1]
    assert verbs == ["register", "register", "enqueue", "register", "enqueue"]
