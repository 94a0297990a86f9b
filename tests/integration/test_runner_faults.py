"""The runner's service when its broker fails, refuses, or gives its jobs to somebody else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from penstock import Exponential, current_job
from penstock.broker import requests as r
from penstock.core.ids import Fence
from penstock.core.job import NO_CHARGES, Claimed, Reason
from penstock.core.lifecycle import State
from penstock.core.settlement import Applied, Complete, Settlement
from penstock.errors import LeaseLost, UsageError
from penstock.tasks.registry import Registration
from penstock.telemetry.events import AttemptFinished, AttemptStarted, JobEnqueued
from penstock.telemetry.events import LeaseLost as EventLeaseLost
from penstock.testing.faulty import Call, Fault, FaultyBroker, fail_nth
from penstock.worker import wire
from penstock.worker.runner import carrier
from penstock.worker.runner.desk import Desk
from penstock.worker.runner.service import Service
from penstock.worker.runner.threads import Elsewhere
from tests.support.service_bench import ServiceBench, until

#: Which call fails: more than a run of five jobs makes, as one test checks.
SWEEP = range(1, 15)


@pytest.fixture
def bench() -> ServiceBench:
    """An app and a broker in memory."""
    return ServiceBench()


def five_jobs(bench: ServiceBench, runs: list[int]) -> list[Any]:
    """Enqueue five jobs, of both kinds, one of which fails once; `runs` notes each start."""
    quick = Exponential(base="1ms", cap="1ms", jitter="none")

    @bench.app.task(name="one", backoff=quick)
    async def one(number: int) -> int:
        runs.append(number)
        if number == 0 and current_job().attempt == 1:
            raise ValueError(number)
        current_job().progress(number)
        return number

    @bench.app.task(name="two")
    def two(number: int) -> int:
        runs.append(number)
        return number

    return [*(one.enqueue(n) for n in range(3)), *(two.enqueue(n) for n in range(3, 5))]


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.LOSE_REPLY])
@pytest.mark.parametrize("number", SWEEP)
def test_a_failing_call_loses_and_repeats_nothing(
    bench: ServiceBench, number: int, fault: Fault
) -> None:
    """Whichever call fails, before or after its write, each job runs as often as without."""
    runs: list[int] = []
    made = five_jobs(bench, runs)
    faulty = FaultyBroker(bench.store, fail_nth(number, fault))
    assert bench.run(faulty=faulty, poll_ms=600_000)
    assert [bench.record(job.id).state for job in made] == [State.COMPLETED] * 5
    assert sorted(runs) == [0, 0, 1, 2, 3, 4]
    assert [bench.record(job.id).claim_number for job in made] == [2, 1, 1, 1, 1]


def test_the_sweep_reaches_the_last_call(bench: ServiceBench) -> None:
    """A run without faults makes fewer calls than the sweep tries."""
    five_jobs(bench, [])
    faulty = FaultyBroker(bench.store, lambda _call: Fault.NONE)
    assert bench.run(faulty=faulty, poll_ms=600_000)
    assert len(faulty.calls) < max(SWEEP), faulty.calls
    assert {"claim", "cycle", "note"} <= {call.verb for call in faulty.calls}


def test_running_jobs_outlive_an_outage(
    bench: ServiceBench, caplog: pytest.LogCaptureFixture
) -> None:
    """While the broker is away jobs run on; what ends is settled when it is back, once."""
    away, started, ended = threading.Event(), asyncio.Event(), asyncio.Event()
    tried: list[str] = []

    @bench.app.task(name="long")
    async def long() -> str:
        started.set()
        await ended.wait()
        return "done"

    def plan(call: Call) -> Fault:
        if away.is_set():
            tried.append(call.verb)
            return Fault.REFUSE
        return Fault.NONE

    async def beside(service: Service) -> None:
        await started.wait()
        away.set()
        ended.set()
        await until(lambda: len(tried) >= 3)
        away.clear()
        await until(lambda: bench.record(job.id).state is State.COMPLETED)
        service.take_in(wire.Drain(0))

    job = long.enqueue()
    with caplog.at_level(logging.INFO, "penstock.runner"):
        assert bench.run(beside, faulty=FaultyBroker(bench.store, plan))
    record = bench.record(job.id)
    assert (record.claim_number, len(record.attempts)) == (1, 1)
    told = [line.getMessage() for line in caplog.records]
    assert sum("does not answer" in line for line in told) == 1, told
    assert sum("answers again" in line for line in told) == 1, told


class Picky:
    """A broker that refuses every batch with a result in it that it does not like."""

    def __init__(self, bench: ServiceBench, bad: bytes) -> None:
        self._memory = bench.store
        self._bad = bad

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def _check(self, settlements: Sequence[Settlement]) -> None:
        if any(isinstance(one, Complete) and one.result == self._bad for one in settlements):
            raise UsageError("not this one")

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Settle, or refuse all."""
        self._check(settlements)
        return self._memory.settle(settlements)

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle and claim, or refuse all."""
        self._check(settlements)
        return self._memory.cycle(settlements, request)


def test_one_refused_settlement_does_not_hold_back_the_others(
    bench: ServiceBench, caplog: pytest.LogCaptureFixture
) -> None:
    """A settlement that the broker refuses is buried; its neighbours are settled."""
    made = five_jobs(bench, [])
    with caplog.at_level(logging.CRITICAL + 1, "penstock.runner"):
        assert bench.run(faulty=Picky(bench, b"2"))
    states = [bench.record(job.id).state for job in made]
    assert states == [State.COMPLETED] * 2 + [State.DEAD] + [State.COMPLETED] * 2
    assert bench.record(made[2].id).reason is Reason.RESULT_REFUSED


def test_a_lost_lease_ends_no_job_and_counts_for_none(
    bench: ServiceBench, caplog: pytest.LogCaptureFixture
) -> None:
    """After its lease was taken over an attempt writes nothing more, and is told so."""
    started, lost = asyncio.Event(), asyncio.Event()
    seen: list[str] = []

    @bench.app.task(name="long")
    async def long() -> str:
        if current_job().claim_number > 1:
            return "second"
        started.set()
        await lost.wait()
        try:
            current_job().checkpoint(1)
        except LeaseLost as error:
            seen.append(str(error))
        return "first"

    async def beside(service: Service) -> None:
        await started.wait()
        old, taker, new = service.pump.lease, bench.open_lease(), bench.open_lease()
        bench.store.close_leases([old])
        taken = bench.store.reclaim(
            r.ReclaimRequest(
                lease=taker,
                queues=("default",),
                fence=Fence("f" * 32),
                limit=10,
                lease_ttl_ms=1_000,
            )
        )
        assert len(taken.jobs) == 1
        service.take_in(wire.Renew(lease=new, lost=old))
        lost.set()
        await until(lambda: service.desk.settled)
        service.take_in(wire.Drain(0))

    job = long.enqueue()
    with caplog.at_level(logging.WARNING, "penstock.runner"):
        assert bench.run(beside)
    record = bench.record(job.id)
    assert (record.state, record.result, record.checkpoint) == (State.RUNNING, None, None)
    assert len(seen) == 1
    told = [type(event) for event in bench.events]
    assert told == [JobEnqueued, AttemptStarted, EventLeaseLost]
    [warning] = [line for line in caplog.records if "lease lost" in line.getMessage()]
    assert getattr(warning, "job", None) == job.id


def test_a_closed_lease_claims_nothing_until_it_is_renewed(bench: ServiceBench) -> None:
    """Without an open lease jobs stay queued; under the new one they run."""

    @bench.app.task(name="one")
    async def one() -> int:
        return 1

    async def beside(service: Service) -> None:
        old, new = service.pump.lease, bench.open_lease()
        bench.store.close_leases([old])
        first = one.enqueue()
        await until(lambda: any(feed.is_cut_off for feed in service.pump.feeds))
        assert bench.record(first.id).state is State.QUEUED
        service.take_in(wire.Renew(lease=new, lost=old))
        await until(lambda: bench.record(first.id).state is State.COMPLETED)
        service.take_in(wire.Drain(0))

    assert bench.run(beside)


def test_a_word_from_the_broker_ends_the_wait_for_the_next_try(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that was away is asked again as soon as its listener says so, not an hour later."""
    monkeypatch.setattr(carrier, "retry_wait_s", lambda _failures: 3_600.0)
    away = threading.Event()
    away.set()

    def refuse_while_away(call: Call) -> Fault:
        return Fault.REFUSE if away.is_set() and call.verb == "claim" else Fault.NONE

    @bench.app.task(name="one")
    async def one() -> int:
        return 1

    job = one.enqueue()

    async def beside(service: Service) -> None:
        await until(lambda: service.pump.is_cut_off)
        away.clear()
        service.pump.feeds[0].wake(at_once=True)
        await until(lambda: bench.record(job.id).state is State.COMPLETED)
        service.take_in(wire.Drain(0))

    assert bench.run(beside, faulty=FaultyBroker(bench.store, refuse_while_away))


class Slow:
    """A broker that makes a claim and holds its answer up until told."""

    def __init__(self, bench: ServiceBench) -> None:
        self._memory = bench.store
        self.made: list[r.ClaimAnswer] = []
        self.go_on = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Claim, and answer late if there was anything."""
        answer = self._memory.claim(request)
        if answer.jobs:
            self.made.append(answer)
            self.go_on.wait(30)
        return answer


def test_a_cancel_that_overtakes_its_claim_is_not_lost(bench: ServiceBench) -> None:
    """A job that is cancelled while the claim that took it is on its way never starts."""
    slow = Slow(bench)
    ran: list[int] = []

    @bench.app.task(name="one")
    async def one() -> None:
        ran.append(1)

    async def beside(service: Service) -> None:
        await until(lambda: slow.made)
        job.cancel()
        [claimed] = slow.made[0].jobs
        service.take_in(wire.CancelJobs(((claimed.id, claimed.fence),)))
        slow.go_on.set()
        await until(lambda: bench.record(job.id).state is State.CANCELLED)
        service.take_in(wire.Drain(0))

    job = one.enqueue()
    assert bench.run(beside, faulty=slow)
    assert not ran


def test_log_lines_of_ends_name_the_attempt(
    bench: ServiceBench, caplog: pytest.LogCaptureFixture
) -> None:
    """Each carries the job, its task, the attempt, the queue and the priority."""

    @bench.app.task(name="fails", retries=0)
    async def fails() -> None:
        raise ValueError("at once")

    job = fails.using(priority=7).enqueue()
    with caplog.at_level(logging.INFO, "penstock.runner"):
        assert bench.run()
    [line] = [one for one in caplog.records if "failed -> bury" in one.getMessage()]
    named = [getattr(line, name) for name in ("job", "task", "attempt", "queue", "priority")]
    assert named == [job.id, "fails", 1, "default", 7]


def test_sinks_are_told_of_starts_and_ends(bench: ServiceBench) -> None:
    """Each attempt is told twice: when it starts, and when its end is written."""
    made = five_jobs(bench, [])
    assert bench.run()
    started = [one for one in bench.events if isinstance(one, AttemptStarted)]
    finished = [one for one in bench.events if isinstance(one, AttemptFinished)]
    assert len(started) == len(finished) == 6
    assert {one.id for one in started} == {job.id for job in made}
    assert [(one.outcome, one.settlement) for one in finished if one.id == made[0].id] == [
        ("failed", "retry"),
        ("succeeded", "complete"),
    ]


def test_jobs_that_come_too_late_go_back(bench: ServiceBench) -> None:
    """What a claim under way brings after the order to stop is released and never starts."""
    ran: list[int] = []

    @bench.app.task(name="one")
    async def one() -> None:
        ran.append(1)

    claiming, go_on = threading.Event(), threading.Event()

    def plan(call: Call) -> Fault:
        if call.verb == "claim":
            claiming.set()
            go_on.wait(30)
        return Fault.NONE

    async def beside(service: Service) -> None:
        await asyncio.to_thread(claiming.wait, 30)
        service.take_in(wire.Drain(60_000))
        go_on.set()

    job = one.enqueue()
    assert bench.run(beside, faulty=FaultyBroker(bench.store, plan))
    record = bench.record(job.id)
    assert (record.state, record.charges, ran) == (State.QUEUED, NO_CHARGES, [])


def test_an_outage_at_the_end_does_not_keep_the_process(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner whose last settlements cannot be written ends, and says that it is not settled."""
    monkeypatch.setattr("penstock.worker.runner.service._LAST_WRITE_WAIT_S", 0.2)
    away = threading.Event()

    @bench.app.task(name="one")
    async def one() -> None:
        away.set()

    def plan(_call: Call) -> Fault:
        return Fault.REFUSE if away.is_set() else Fault.NONE

    async def beside(service: Service) -> None:
        await until(away.is_set)
        service.take_in(wire.Drain(100))

    job = one.enqueue()
    assert not bench.run(beside, faulty=FaultyBroker(bench.store, plan))
    assert bench.record(job.id).state is State.RUNNING


def test_a_job_that_cannot_be_started_strands_no_other(
    bench: ServiceBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs claimed with it run; it goes back to its queue, and is not left running."""
    runs: list[int] = []
    jobs = five_jobs(bench, runs)
    real, refused = Desk._elsewhere, [jobs[1].id]

    def elsewhere(desk: Desk, job: Claimed, task: Registration) -> Elsewhere | None:
        if job.id in refused:
            refused.remove(job.id)
            raise RuntimeError("a defect of the runner")
        return real(desk, job, task)

    monkeypatch.setattr(Desk, "_elsewhere", elsewhere)
    assert bench.run()
    assert refused == []
    assert [bench.record(job.id).state for job in jobs] == [State.COMPLETED] * 5
    outcomes = [one.outcome for one in bench.record(jobs[1].id).attempts]
    assert outcomes == ["interrupted", "succeeded"]
