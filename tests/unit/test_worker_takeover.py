"""Leases, reclaim and settling over a real broker in memory, with every call failing in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core.ids import Fence, LeaseId
from penstock.core.job import ALONE, SHARED, Claimed, Reason
from penstock.core.lifecycle import State
from penstock.core.manifest import AppManifest, TaskFacts
from penstock.core.outcome import Crashed, Interrupted, Succeeded
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.secret import SecretKeys
from penstock.serializers.sealing import Seal
from penstock.testing.faulty import Call, Fault, fail_nth
from penstock.worker.asks import Ask
from penstock.worker.supervisor.child_calls import ChildCalls
from penstock.worker.supervisor.maintenance import Maintenance
from penstock.worker.supervisor.settling import Verdict
from tests.support.eventually import eventually
from tests.support.takeover_bench import ERROR, QUEUES, RUNNER_PID, TTL_MS, TakeoverBench

RULES = (r.Retention(state=State.COMPLETED, age_ms=60_000, count_max=1_000),)


async def for_a_while(loop: Callable[[], Awaitable[None]], until: Callable[[], object]) -> None:
    """Run an endless loop until something holds."""
    running = asyncio.ensure_future(loop())
    await asyncio.to_thread(eventually, until, within_s=20, what="the loop to act")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


#: Every way to fail, at every call that the scenario makes.
SWEEP = [
    (number, fault)
    for number in range(1, 8)
    for fault in (Fault.REFUSE, Fault.LOSE_REPLY, Fault.TWICE)
]


@pytest.mark.parametrize(("number", "fault"), SWEEP)
def test_a_death_is_accounted_for_whatever_call_fails(number: int, fault: Fault) -> None:
    """The jobs of a dead runner become suspects, charged once, under any single failure."""

    async def main() -> None:
        bench = TakeoverBench(fail_nth(number, fault))
        await bench.open_own()
        lease, job = bench.run_elsewhere(bench.owner(RUNNER_PID))
        await bench.reclaim.after_death(
            RUNNER_PID, [lease], lambda _job: Crashed(ERROR, alone=False)
        )
        assert bench.state(job) == (State.QUEUED, "crashed", False, True)
        assert bench.store.needs(QUEUES)["q"] == [ALONE]
        await bench.link.broker.close()

    asyncio.run(main())


def test_the_sweep_reaches_every_call() -> None:
    """The scenario of the sweep makes no more calls than the sweep has numbers."""

    async def main() -> int:
        bench = TakeoverBench()
        await bench.open_own()
        lease, _ = bench.run_elsewhere(bench.owner(RUNNER_PID))
        await bench.reclaim.after_death(RUNNER_PID, [lease], lambda _job: Interrupted(ERROR))
        await bench.link.broker.close()
        return len(bench.faulty.calls)

    assert 4 <= asyncio.run(main()) <= max(number for number, _ in SWEEP)


@pytest.mark.parametrize(
    ("need", "expected"),
    [(SHARED, (State.QUEUED, "lost", True, False)), (ALONE, (State.RETRYING, "lost", False, True))],
)
def test_a_lease_that_ran_out_is_a_loss_without_a_witness(
    need: str, expected: tuple[State, str, bool, bool]
) -> None:
    """The first loss marks a shared job and charges a lone one."""

    async def main() -> None:
        bench = TakeoverBench()
        await bench.open_own()
        # Of another boot's pid namespace: nobody here can know whether it is dead.
        stranger = msgspec.structs.replace(bench.owner(1, "other@1-b"), pid_namespace=8)
        _, job = bench.run_elsewhere(stranger, need)

        def look() -> bool:
            bench.clock.advance(500)
            bench.store.extend([bench.leases.own], ttl_ms=TTL_MS)
            return bench.state(job)[0] is not State.RUNNING

        await for_a_while(bench.reclaim.run, look)
        assert bench.state(job) == expected
        await bench.link.broker.close()

    asyncio.run(main())


def test_the_first_loss_of_an_exclusive_job_is_not_charged() -> None:
    """A worker that was cut off has killed it, so the job is only marked; then it is charged."""

    async def main() -> None:
        bench = TakeoverBench()
        task = TaskFacts(name="t", queue="q", policy=POLICY_DEFAULT, on_partition="kill")
        bench.tasks.learn(AppManifest(url="memory://", tasks=(task,), queues=QUEUES))
        await bench.open_own()
        stranger = msgspec.structs.replace(bench.owner(1, "other@1-b"), pid_namespace=8)
        _, job = bench.run_elsewhere(stranger, ALONE)

        def look(job: Claimed) -> bool:
            bench.clock.advance(500)
            bench.store.extend([bench.leases.own], ttl_ms=TTL_MS)
            return bench.state(job)[0] is not State.RUNNING

        await for_a_while(bench.reclaim.run, partial(look, job))
        assert bench.state(job) == (State.QUEUED, "lost", True, False)
        assert bench.store.needs(QUEUES)["q"] == [ALONE]
        again = bench.claim_elsewhere(stranger, ALONE)
        assert again.id == job.id
        await for_a_while(bench.reclaim.run, partial(look, again))
        assert bench.state(job) == (State.RETRYING, "lost", True, True)
        await bench.link.broker.close()

    asyncio.run(main())


def test_the_processes_of_a_dead_worker_are_not_waited_for() -> None:
    """A lease whose owner is known to be dead is closed at once, without any time passing."""

    async def main() -> None:
        bench = TakeoverBench()
        await bench.open_own()
        _, job = bench.run_elsewhere(bench.owner(RUNNER_PID, "dead@1-c"))
        await for_a_while(bench.reclaim.run, lambda: bench.state(job)[0] is not State.RUNNING)
        assert bench.state(job) == (State.QUEUED, "lost", True, False)
        await bench.link.broker.close()

    asyncio.run(main())


def test_a_lost_lease_is_renewed_and_told() -> None:
    """A holder whose lease was taken over learns of the new one and of the lost one."""

    async def main() -> None:
        bench = TakeoverBench()
        await bench.open_own()
        lost = bench.leases.own
        bench.store.close_leases([lost])
        await for_a_while(bench.leases.run, lambda: bench.holder.renewals)
        assert bench.holder.renewals == [(bench.leases.own, lost)]
        assert bench.leases.own != lost
        assert [one.id for one in bench.store.leases()] == [bench.leases.own]
        await bench.link.broker.close()

    asyncio.run(main())


def test_leases_are_extended_through_an_outage_and_after_it() -> None:
    """Calls that fail are tried again before the lease runs out; the link tells of the outage."""

    async def main() -> None:
        failing = {"is": False}
        bench = TakeoverBench(lambda _call: Fault.REFUSE if failing["is"] else Fault.NONE)
        await bench.open_own()
        failing["is"] = True
        await for_a_while(bench.leases.run, lambda: bench.link.failing_since_ms is not None)
        assert bench.link.last_error is not None
        assert "Unavailable" in bench.link.last_error
        failing["is"] = False
        bench.clock.advance(TTL_MS - 1_000)
        before = bench.clock.boot_ms()
        await for_a_while(bench.leases.run, lambda: bench.leases.extended_at_ms >= before)
        assert bench.link.failing_since_ms is None
        (facts,) = bench.store.leases()
        assert facts.expires_in_ms == TTL_MS
        await bench.link.broker.close()

    asyncio.run(main())


def test_until_when_a_lease_holds_is_counted_from_the_sending() -> None:
    """However late an answer comes; an extension that failed, or may have, prolongs nothing."""

    async def main() -> None:
        fault = {"is": Fault.NONE}
        bench = TakeoverBench(lambda _call: fault["is"])
        before = bench.clock.boot_ms()
        await bench.open_own()
        own = bench.leases.own
        assert bench.holder.extensions == [(own, before + TTL_MS)]
        for lost in (Fault.REFUSE, Fault.LOSE_REPLY):
            fault["is"] = lost
            bench.clock.advance(1_000)
            calls = len(bench.faulty.calls)
            made = partial(lambda calls: len(bench.faulty.calls) >= calls + 2, calls)
            await for_a_while(bench.leases.run, made)
            assert bench.leases.runs_out_ms(own) == before + TTL_MS
        fault["is"] = Fault.NONE
        sent_ms = bench.clock.boot_ms()
        extend = bench.store.extend

        def extend_late(leases: Sequence[LeaseId], *, ttl_ms: int) -> r.ExtendAnswer:
            answer = extend(leases, ttl_ms=ttl_ms)
            bench.clock.advance(5_000)
            return answer

        bench.store.extend = extend_late  # type: ignore[method-assign] # slow on its way back
        await for_a_while(bench.leases.run, lambda: len(bench.holder.extensions) > 1)
        assert bench.leases.extended_at_ms >= sent_ms + 5_000
        assert bench.holder.extensions[1] == (own, sent_ms + TTL_MS)
        assert bench.leases.runs_out_ms(LeaseId("ab" * 16)) == 0
        await bench.link.broker.close()

    asyncio.run(main())


def test_a_lease_that_was_lost_holds_no_more() -> None:
    """The lost one has run out, the one in its place holds from the first try to open it."""

    async def main() -> None:
        bench = TakeoverBench(fail_nth(1, Fault.LOSE_REPLY, verb="open_lease"))
        before = bench.clock.boot_ms()
        await bench.open_own()
        lost = bench.leases.own
        assert bench.leases.runs_out_ms(lost) == before + TTL_MS
        bench.store.close_leases([lost])
        await for_a_while(bench.leases.run, lambda: bench.holder.renewals)
        assert bench.leases.runs_out_ms(lost) == 0
        assert bench.leases.runs_out_ms(bench.leases.own) == before + TTL_MS
        assert bench.holder.extensions[-1] == (bench.leases.own, before + TTL_MS)
        await bench.link.broker.close()

    asyncio.run(main())


def test_cancels_come_with_the_extension() -> None:
    """A requested cancel is delivered to the holder once, and pressed once its grace is over."""

    async def main() -> None:
        bench = TakeoverBench()
        await bench.open_own()
        bench.enqueue()
        request = r.ClaimRequest(
            lease=bench.leases.own,
            offers=(r.Offer("q", (SHARED,)),),
            limit=1,
            fence=Fence("ab" * 16),
        )
        (job,) = bench.store.claim(request).jobs
        bench.store.cancel([job.id])
        await for_a_while(bench.leases.run, lambda: bench.holder.cancelled)
        assert bench.holder.cancelled == [(job.id, job.fence)]
        assert bench.holder.overran == []
        bench.clock.advance(60)
        await for_a_while(bench.leases.run, lambda: bench.holder.overran)
        assert bench.holder.overran == [(job.id, job.fence)]
        await bench.link.broker.close()

    asyncio.run(main())


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.LOSE_REPLY, Fault.TWICE])
def test_no_settlement_is_lost_or_doubled(fault: Fault) -> None:
    """A settlement whose call fails is made again; the job is settled once."""

    async def main() -> None:
        bench = TakeoverBench(fail_nth(1, fault, verb="settle"))
        _, job = bench.run_elsewhere(bench.owner(RUNNER_PID))
        await bench.settler.settle([Verdict(job, Succeeded(b"1"), 5)])
        record = bench.store.get(job.id)
        assert record is not None
        assert (record.state, len(record.attempts)) == (State.COMPLETED, 1)
        assert record.attempts[0].pid == 5
        (counts,) = bench.store.counts()
        assert (counts.completed, counts.running) == (1, 0)
        await bench.link.broker.close()

    asyncio.run(main())


def test_maintenance_works_in_bounded_batches() -> None:
    """One tick promotes a backlog in several calls, but no more of it than its share."""

    async def main() -> None:
        bench = TakeoverBench()
        for _ in range(2 * r.BATCH_MAX + 10):
            bench.enqueue(delay_ms=1_000)
        bench.clock.advance(1_000)
        maintenance = Maintenance(bench.link, QUEUES, RULES)
        for verb, _, call in maintenance.loops:
            await maintenance.tick(verb, call)
        assert maintenance.done == {"promote": 2 * r.BATCH_MAX + 10, "expire": 0, "prune": 0}
        assert [one.verb for one in bench.faulty.calls].count("promote") == 3
        (counts,) = bench.store.counts()
        assert counts.queued == 2 * r.BATCH_MAX + 10
        await bench.link.broker.close()

    asyncio.run(main())


def test_maintenance_forgets_what_is_older_than_its_retention() -> None:
    """A completed job is gone after its time, and a younger one is kept."""

    async def main() -> None:
        bench = TakeoverBench()
        old = bench.run_elsewhere(bench.owner(1))[1]
        await bench.settler.settle([Verdict(old, Succeeded(b"1"))])
        bench.clock.advance(RULES[0].age_ms)
        young = bench.run_elsewhere(bench.owner(1))[1]
        await bench.settler.settle([Verdict(young, Succeeded(b"1"))])
        maintenance = Maintenance(bench.link, QUEUES, RULES)
        for verb, _, call in maintenance.loops:
            await maintenance.tick(verb, call)
        assert bench.store.get(old.id) is None
        assert bench.store.get(young.id) is not None
        await bench.link.broker.close()

    asyncio.run(main())


def test_one_settlement_that_is_refused_strands_no_other() -> None:
    """Each of a refused batch is settled by itself; the one that is refused again is buried."""

    def plan(call: Call) -> Fault:
        # The batch, then the first of its jobs alone.
        if call.verb == "settle" and call.number_of_verb <= 2:
            raise ValueError("the broker does not like this")
        return Fault.NONE

    async def main() -> None:
        bench = TakeoverBench(plan)
        jobs = [bench.run_elsewhere(bench.owner(RUNNER_PID))[1] for _ in range(2)]
        await bench.settler.settle([Verdict(job, Succeeded(b"1"), 5) for job in jobs])
        records = [bench.store.get(job.id) for job in jobs]
        ends = [(one.state, one.reason) for one in records if one is not None]
        assert ends == [(State.DEAD, Reason.RESULT_REFUSED), (State.COMPLETED, None)]
        await bench.link.broker.close()

    asyncio.run(main())


def test_a_death_says_nothing_about_a_later_process_of_that_number() -> None:
    """A job of a new runner that got a dead one's pid is lost without a witness."""

    async def main() -> None:
        bench = TakeoverBench()
        await bench.open_own()
        await bench.reclaim.after_death(RUNNER_PID, [], lambda _job: Interrupted(ERROR))
        bench.reclaim.born(RUNNER_PID)
        lease, job = bench.run_elsewhere(bench.owner(RUNNER_PID))
        bench.store.close_leases([lease])
        await for_a_while(bench.reclaim.run, lambda: bench.state(job)[0] is not State.RUNNING)
        assert bench.state(job) == (State.QUEUED, "lost", True, False)
        await bench.link.broker.close()

    asyncio.run(main())


def test_a_childs_question_is_answered_whatever_happens() -> None:
    """A failure that nobody foresaw is told to the child as an outcome that is not known."""

    def plan(call: Call) -> Fault:
        if call.verb == "register":
            raise ValueError("a defect of the broker")
        return Fault.NONE

    async def main() -> None:
        link = TakeoverBench(plan).link
        answer = await ChildCalls(link, Seal(SecretKeys())).answer(Ask(7, queues=("q",)))
        assert answer.number == 7
        assert answer.failure is not None
        assert answer.failure.kind == "OutcomeUnknown"
        assert "a defect of the broker" in answer.failure.message
        await link.broker.close()

    asyncio.run(main())


def test_a_lease_whose_opening_is_not_answered_is_closed_at_the_end() -> None:
    """A worker that ends before the broker has answered leaves no lease open."""

    async def main() -> None:
        bench = TakeoverBench(
            lambda call: Fault.LOSE_REPLY if call.verb == "open_lease" else Fault.NONE
        )
        opening = asyncio.ensure_future(bench.leases.open(bench.owner(RUNNER_PID), bench.holder))
        await asyncio.to_thread(
            eventually, lambda: bench.faulty.calls, within_s=20, what="a lease to be opened"
        )
        opening.cancel()
        await asyncio.wait([opening])
        (lease,) = bench.leases.forget_all()
        bench.store.close_leases([lease])
        assert bench.store.leases() == []
        await bench.link.broker.close()

    asyncio.run(main())
