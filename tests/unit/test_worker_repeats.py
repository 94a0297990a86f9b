"""Settlements whose answer was lost, made by a supervisor: what it tells is what was written."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.brokers.sqlite import SqliteBroker
from penstock.core.ids import Fence, JobId, JobIdSource, LeaseId
from penstock.core.job import SHARED, Claimed, JobRecord, JobSpec, Reason, StoredError
from penstock.core.lifecycle import State
from penstock.core.manifest import AppManifest, TaskFacts
from penstock.core.outcome import Failed, Outcome, Succeeded
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Applied, Bury, Complete
from penstock.errors import OutcomeUnknown, UsageError
from penstock.testing.clock import ManualClock
from penstock.testing.faulty import Call, Fault, FaultyBroker, Plan, fail_nth
from penstock.worker.repeats import Tries, find_out
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.settling import Settler, Verdict
from penstock.worker.supervisor.task_facts import Tasks
from tests.support.rival import FATES, Rival, first_of

ERROR = StoredError("ValueError", "no")
DIES = Failed(ERROR, retryable=False)
ENDS: dict[str, Outcome] = {"complete": Succeeded(b"1"), "bury": DIES, "retry": Failed(ERROR)}
TASKS = (
    TaskFacts(name="t", queue="q", policy=POLICY_DEFAULT, on_dead="notice"),
    TaskFacts(name="notice", queue="mail", policy=POLICY_DEFAULT),
)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """An empty broker of each kind."""
    clock = ManualClock()
    broker: Broker = (
        MemoryBroker(clock)
        if request.param == "memory"
        else SqliteBroker.open(tmp_path / "jobs.db", clock=clock)
    )
    yield broker
    broker.close()


def claimed(store: Broker, count: int = 1) -> list[Claimed]:
    """Enqueue jobs and claim them under one lease."""
    tag, clock, ids = store.register(["q"])["q"], ManualClock(), JobIdSource()
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"))
    for _ in range(count):
        job_id = ids.draw(clock.wall_ms(), tag, secrets.randbits(48))
        store.enqueue([r.EnqueueRequest(id=job_id, queue="q", spec=spec)])
    lease = LeaseId(secrets.token_hex(16))
    owner = r.Owner("me@1-a", "here", "boot", 7, 1, 1)
    store.open_lease(r.OpenLease(id=lease, queues=("q",), owner=owner, ttl_ms=12_000))
    offers = (r.Offer("q", (SHARED,)),)
    fence = Fence(secrets.token_hex(16))
    return list(
        store.claim(r.ClaimRequest(lease=lease, offers=offers, limit=count, fence=fence)).jobs
    )


def settle(store: Broker, plan: Plan, *verdicts: Verdict) -> list[str]:
    """Let a supervisor settle over a broker that fails as planned; return the verbs it called."""
    faulty = FaultyBroker(store, plan)

    async def main() -> None:
        tasks = Tasks()
        tasks.learn(AppManifest(url="memory://", tasks=TASKS, queues=("q", "mail")))
        # Not closed: the fixture's broker is behind it.
        link = BrokerLink(ThreadedBroker(faulty), ManualClock())
        await Settler(link, tasks).settle(verdicts)

    asyncio.run(main())
    return [call.verb for call in faulty.calls]


def became(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says of each settlement."""
    return [
        line.getMessage().rpartition(" -> ")[2].partition(":")[0]
        for line in caplog.records
        if " -> " in line.getMessage()
    ]


def notices(store: Broker) -> int:
    """Return how many on_dead jobs wait."""
    return sum(one.queued for one in store.counts() if one.queue == "mail")


@pytest.mark.parametrize("end", ENDS)
def test_a_written_settlement_counts_though_its_answer_is_lost(
    store: Broker, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The supervisor tells it as applied, after one look, and sends one notice of a burial."""
    (job,) = claimed(store)
    with caplog.at_level(logging.DEBUG, "penstock.worker"):
        verbs = settle(store, fail_nth(1, Fault.LOSE_REPLY), Verdict(job, ENDS[end]))
    assert became(caplog) == [end]
    assert verbs[:3] == ["settle", "settle", "get"]
    assert (verbs.count("get"), notices(store)) == (1, int(end == "bury"))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fate", FATES)
def test_a_settlement_that_was_not_written_is_stale(
    store: Broker, end: str, fate: Callable[[Rival], object], caplog: pytest.LogCaptureFixture
) -> None:
    """Unanswered, not written and taken over: it is told as stale, and no notice is sent."""
    (job,) = claimed(store)
    plan = first_of({"settle"}, lambda: fate(Rival(store, "q")))
    with caplog.at_level(logging.DEBUG, "penstock.worker"):
        verbs = settle(store, plan, Verdict(job, ENDS[end]))
    assert became(caplog) == ["stale"]
    assert verbs == ["settle", "settle", "get"]
    assert notices(store) == 0


def test_only_what_is_stale_is_looked_at(store: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Of three jobs one was settled by the lost try: one record is read."""
    first, *others = claimed(store, 3)
    lost: list[Call] = []

    def plan(call: Call) -> Fault:
        if call.verb == "settle" and not lost:
            lost.append(call)
            bury = Bury(
                id=first.id,
                fence=first.fence,
                outcome="failed",
                error=ERROR,
                reason=Reason.NOT_RETRYABLE,
            )
            store.settle([bury])
            raise OutcomeUnknown("the call is lost by the test: call again")
        return Fault.NONE

    with caplog.at_level(logging.DEBUG, "penstock.worker"):
        verbs = settle(store, plan, *(Verdict(job, DIES) for job in (first, *others)))
    assert became(caplog) == ["bury"] * 3
    assert (verbs.count("get"), notices(store)) == (1, 3)


def test_a_stale_settlement_that_was_answered_costs_no_look(store: Broker) -> None:
    """Without an unknown try nothing is read, however often the broker was away."""
    (job,) = claimed(store)
    Rival(store, "q").complete()
    verbs = settle(store, fail_nth(1, Fault.REFUSE), Verdict(job, DIES))
    assert verbs == ["settle", "settle"]
    assert notices(store) == 0


def test_a_lost_answer_before_a_refusal_is_not_forgotten(
    store: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that was written, unanswered, then refused and made one by one is told as applied."""
    jobs = claimed(store, 2)

    def plan(call: Call) -> Fault:
        if call.number == 2:
            raise UsageError("not this batch")
        return Fault.LOSE_REPLY if call.number == 1 else Fault.NONE

    with caplog.at_level(logging.DEBUG, "penstock.worker"):
        verbs = settle(store, plan, *(Verdict(job, DIES) for job in jobs))
    assert became(caplog) == ["bury", "bury"]
    assert verbs[:6] == ["settle", "settle", "settle", "settle", "get", "get"]
    assert notices(store) == 2


def test_the_same_end_decided_otherwise_sends_no_notice(store: Broker) -> None:
    """Another worker judged the same attempt alike and retries it: its job is not dead."""
    (job,) = claimed(store)
    judged = Failed(ERROR)

    def retried_elsewhere() -> None:
        taken = Rival(store, "q").take_over()
        settle(store, lambda _call: Fault.NONE, Verdict(taken, judged))

    settle(store, first_of({"settle"}, retried_elsewhere), Verdict(job, DIES))
    record = store.get(job.id)
    assert record is not None
    assert (record.state, notices(store)) == (State.RETRYING, 0)


def test_what_cannot_be_read_counts_as_the_broker_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A job that is gone, or whose record is broken, stays stale; its neighbours are told."""
    store = MemoryBroker(ManualClock())
    jobs = claimed(store, 3)
    done = [Complete(id=one.id, fence=one.fence, outcome="succeeded", result=None) for one in jobs]
    store.settle(done)

    async def read(job_id: JobId) -> JobRecord | None:
        if job_id == jobs[0].id:
            raise ValueError("a broken record")
        return None if job_id == jobs[1].id else store.get(job_id)

    stale = [(job, one, Applied.STALE) for job, one in zip(jobs, done, strict=True)]
    with caplog.at_level(logging.CRITICAL, "penstock.worker"):
        found = asyncio.run(find_out(stale, read))
    assert found == [Applied.STALE, Applied.STALE, Applied.APPLIED]


def test_only_an_unknown_outcome_makes_a_doubt() -> None:
    """A refusal leaves nothing in doubt; an answer after an unknown outcome does not end it."""

    async def fails(error: Exception) -> None:
        raise error

    async def main() -> list[bool]:
        tries, seen = Tries(), []
        for error in (UsageError("no"), OutcomeUnknown("?"), UsageError("no")):
            with pytest.raises(type(error)):
                await tries.make(fails(error))
            seen.append(tries.is_unknown)
        return seen

    assert asyncio.run(main()) == [False, True, True]
