"""What a runner tells of settlements whose answer was lost: what the broker has written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Exponential, Snooze, current_job
from penstock.broker.clock import SystemClock
from penstock.broker.protocol import Broker
from penstock.brokers.memory import MemoryBroker
from penstock.brokers.sqlite import SqliteBroker
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.errors import OutcomeUnknown, Unavailable, UsageError
from penstock.telemetry.events import AttemptFinished, LeaseLost
from penstock.testing.faulty import Call, Fault, FaultyBroker
from penstock.worker import wire
from penstock.worker.runner.service import Service
from tests.support.rival import FATES, Rival, first_of
from tests.support.service_bench import ServiceBench, until

SETTLES = {"settle", "cycle"}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """An empty broker of each kind."""
    clock = SystemClock()
    broker: Broker = (
        MemoryBroker(clock)
        if request.param == "memory"
        else SqliteBroker.open(tmp_path / "jobs.db", clock=clock)
    )
    yield broker
    broker.close()


class Scene:
    """Tasks that end in each way, and what the runner told of their attempts.

    Attributes:
        notices: ids of jobs whose `on_dead` job ran.
    """

    def __init__(self, store: Broker) -> None:
        """Register the tasks."""
        self.bench = ServiceBench(store)
        self.notices: list[str] = []
        app = self.bench.app
        hourly = Exponential(base="1h", cap="1h", jitter="none")

        @app.task(name="notice")
        async def notice(job_id: str, reason: str, error: str | None) -> None:
            del reason, error
            self.notices.append(job_id)

        @app.task(name="complete", on_dead=notice)
        async def complete() -> str:
            return "ours"

        @app.task(name="bury", on_dead=notice, retries=0)
        async def bury() -> None:
            raise ValueError("no")

        @app.task(name="retry", on_dead=notice, backoff=hourly)
        async def retry() -> None:
            raise ValueError("no")

        @app.task(name="snooze", on_dead=notice)
        async def snooze() -> None:
            raise Snooze("1h")

        self.tasks: dict[str, Any] = {
            "complete": complete,
            "bury": bury,
            "retry": retry,
            "snooze": snooze,
        }

    def told(self, job_id: str) -> list[str]:
        """Return how the ends of a job's attempts were told."""
        return [
            "lost" if isinstance(one, LeaseLost) else one.settlement
            for one in self.bench.events
            if isinstance(one, LeaseLost | AttemptFinished) and one.id == job_id
        ]

    def run_until_told(self, job_id: str, faulty: Broker) -> None:
        """Run a service until it has told of one end of the job, and of all notices of it."""

        async def beside(service: Service) -> None:
            await until(lambda: self.told(job_id))
            if self.bench.store.extend([service.grip.lease], ttl_ms=600_000).lost:
                # As its supervisor does: until then it asks what its last claim has taken.
                service.take_in(wire.Renew(self.bench.open_lease(), service.grip.lease))
            service.take_in(wire.Drain(10_000))

        assert self.bench.run(beside, faulty=faulty)

    def enqueued(self) -> int:
        """Return how many jobs the broker knows."""
        return sum(
            one.queued + one.running + one.completed + one.dead + one.retrying + one.scheduled
            for one in self.bench.store.counts()
        )


def gets(faulty: FaultyBroker) -> int:
    """Return how many records were read through the broker."""
    return [call.verb for call in faulty.calls].count("get")


@pytest.mark.parametrize("kind", ["complete", "bury", "retry", "snooze"])
def test_a_settlement_that_was_written_counts_though_its_answer_is_lost(
    store: Broker, kind: str
) -> None:
    """It is told as applied, after one look, and one on_dead job runs where it is a burial."""
    scene = Scene(store)
    lost: list[Call] = []

    def plan(call: Call) -> Fault:
        if call.verb in SETTLES and not lost:
            lost.append(call)
            return Fault.LOSE_REPLY
        return Fault.NONE

    job = scene.tasks[kind].enqueue()
    faulty = FaultyBroker(store, plan)
    assert scene.bench.run(faulty=faulty)
    assert scene.told(job.id) == [kind]
    assert scene.notices == ([job.id] if kind == "bury" else [])
    assert gets(faulty) == 1
    assert scene.bench.record(job.id).claim_number == 1


@pytest.mark.parametrize("kind", ["complete", "bury", "retry"])
@pytest.mark.parametrize("fate", FATES)
def test_a_settlement_that_was_not_written_is_lost_with_its_job(
    store: Broker, fate: Callable[[Rival], object], kind: str
) -> None:
    """Unanswered, not written and taken over: LeaseLost is told, and nobody hears of a death."""
    scene = Scene(store)
    job = scene.tasks[kind].enqueue()
    faulty = FaultyBroker(store, first_of(SETTLES, lambda: fate(Rival(store, "default"))))
    scene.run_until_told(job.id, faulty)
    assert scene.told(job.id) == ["lost"]
    assert (scene.notices, scene.enqueued()) == ([], 1)
    assert gets(faulty) == 1


def test_an_unanswered_note_does_not_make_a_stale_settlement_good(store: Broker) -> None:
    """What is unknown of a write before the settlement says nothing about the settlement."""
    scene = Scene(store)
    noted = threading.Event()
    notes: list[Call] = []

    @scene.bench.app.task(name="noting", on_dead="notice", retries=0)
    async def noting() -> None:
        current_job().progress(1)
        await until(noted.is_set)
        # Soon after the last write, so that it goes out with the settlement.
        current_job().progress(2)
        raise ValueError("no")

    def plan(call: Call) -> Fault:
        if call.verb == "note":
            notes.append(call)
            if len(notes) == 2:
                Rival(store, "default").take_over()
                raise OutcomeUnknown("the call is lost by the test: call again")
            noted.set()
        return Fault.NONE

    job = noting.enqueue()
    faulty = FaultyBroker(store, plan)
    scene.run_until_told(job.id, faulty)
    assert len(notes) == 3
    assert scene.told(job.id) == ["lost"]
    assert (scene.notices, scene.enqueued(), gets(faulty)) == ([], 1, 0)


def test_a_lost_answer_is_looked_into_until_the_broker_answers(store: Broker) -> None:
    """The look itself may fail as often as it likes; what was claimed meanwhile runs."""
    scene = Scene(store)
    lost: list[str] = []
    ran = threading.Event()

    @scene.bench.app.task(name="next")
    async def after() -> None:
        ran.set()

    def plan(call: Call) -> Fault:
        if call.verb in SETTLES and not lost:
            lost.append(call.verb)
            after.enqueue()
            return Fault.LOSE_REPLY
        if call.verb == "get" and (len(lost) < 4 or not ran.is_set()):
            lost.append(call.verb)
            raise Unavailable("refused by the test: call again")
        return Fault.NONE

    job = scene.tasks["bury"].enqueue()
    assert scene.bench.run(faulty=FaultyBroker(store, plan))
    assert len(lost) >= 4
    assert (scene.told(job.id), scene.notices) == (["bury"], [job.id])


def test_a_burial_in_the_place_of_a_refused_result_is_told_as_one(store: Broker) -> None:
    """A result that the broker refuses, then a lost answer: one burial is told, and its notice."""
    scene = Scene(store)
    alone: list[Call] = []

    def plan(call: Call) -> Fault:
        if call.verb in SETTLES and len(alone) < 3:
            alone.append(call)
            # The round, then the completion alone; then the burial, which is written.
            if len(alone) < 3:
                raise UsageError("not this one")
            return Fault.LOSE_REPLY
        return Fault.NONE

    job = scene.tasks["complete"].enqueue()
    assert scene.bench.run(faulty=FaultyBroker(store, plan))
    record = scene.bench.record(job.id)
    assert (record.state, record.reason) == (State.DEAD, Reason.RESULT_REFUSED)
    assert (scene.told(job.id), scene.notices) == (["bury"], [job.id])
