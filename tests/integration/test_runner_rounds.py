"""A runner over Redis with two rounds under way: what they carry is neither lost nor doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing

import pytest

from penstock import Job
from penstock.brokers.redis import RedisBroker
from penstock.core.job import NO_CHARGES
from penstock.core.lifecycle import State
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.telemetry.events import AttemptFinished
from penstock.worker import wire
from penstock.worker.runner.service import Service
from tests.support.redis_server import RedisServer
from tests.support.service_bench import ServiceBench, until
from tests.support.steered_broker import SteeredBroker, SteeredCall, steered

#: Coroutine slots; a round claims for half of them.
SLOTS = 8
#: Which call fails: more than a run of the sweep makes, as one test checks.
SWEEP = range(1, 17)
#: Milliseconds: longer than any test, so that nothing happens because of a poll.
NO_POLL_MS = 600_000


class Scene:
    """A service over a Redis server, and jobs that end when they are told.

    Attributes:
        bench: app, broker and service.
        broker: the service's, steered by the test.
        started: numbers of the jobs that have started, in order.
        gates: by number: opened, the job ends.
        lasts: other jobs take some time too.
    """

    def __init__(self, store: RedisBroker) -> None:
        self.bench = ServiceBench(store)
        self.store = store
        self.started: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.lasts = False
        self.broker = SteeredBroker(store.loop_face())

        @self.bench.app.task(name="gated")
        async def gated(number: int) -> int:
            self.started.append(number)
            if number in self.gates:
                await self.gates[number].wait()
            elif self.lasts:
                # Some end together, and some are left behind.
                await asyncio.sleep(number % 3 / 1000)
            return number

        self._gated = gated

    def enqueue(self, *numbers: int) -> list[Job[int]]:
        """Enqueue jobs."""
        return self.bench.app.enqueue_many([self._gated.call(number) for number in numbers])

    def run(self, beside: Callable[[Service], Awaitable[None]] | None = None) -> bool:
        """Run a service with two rounds at once; see `ServiceBench.run`."""
        return self.bench.run(
            beside, face=lambda: steered(self.broker), coroutines=SLOTS, poll_ms=NO_POLL_MS
        )

    def states(self, jobs: list[Job[int]]) -> Counter[State]:
        """Return how many of the jobs are in each state."""
        return Counter(self.bench.record(job.id).state for job in jobs)

    async def done(self, jobs: list[Job[int]]) -> None:
        """Return once all of the jobs are completed."""
        await until(lambda: self.states(jobs) == {State.COMPLETED: len(jobs)})

    async def first_claim_held(self) -> SteeredCall:
        """Return a claim that the server has answered, while the first jobs run.

        They fill half of the slots, as one claim asks for; so another follows.
        """
        self.gates = {number: asyncio.Event() for number in range(SLOTS // 2)}
        self.broker.after = hold_claims
        (first,) = await self._held(1)
        first.go_on.set()
        await until(lambda: len(self.started) == SLOTS // 2)
        (second,) = await self._held(1)
        return second

    async def two_claims_held(self) -> tuple[SteeredCall, SteeredCall]:
        """Return two claims that the server has answered: the first jobs have ended meanwhile."""
        await self.first_claim_held()
        return await self.second_claim_held()

    async def second_claim_held(self) -> tuple[SteeredCall, SteeredCall]:
        """Let the first jobs end, so that a claim starts beside the one under way."""
        for gate in self.gates.values():
            gate.set()
        one, other = await self._held(2)
        return one, other

    async def let_go(self, held: Sequence[SteeredCall]) -> None:
        """Give answers that are held up, in this order, and each from now on."""
        self.broker.after = never_hold
        for one in held:
            one.go_on.set()
            # In this order: a round takes its answer in before the next one goes on.
            await asyncio.sleep(0)

    async def _held(self, count: int) -> list[SteeredCall]:
        await until(
            lambda: (
                len(self.broker.claims()) == count
                and all(one.answer is not None for one in self.broker.claims())
            )
        )
        return self.broker.claims()


async def hold_claims(call: SteeredCall) -> None:
    """Hold the answers of claims for coroutines up."""
    if call.request is not None:
        await call.go_on.wait()


@pytest.fixture
def scene(redis: RedisServer) -> Iterator[Scene]:
    """One on a server without keys."""
    with closing(redis.client()) as client:
        client.flushall()
    with closing(RedisBroker.open(redis.url)) as store:
        yield Scene(store)


def test_no_more_is_claimed_than_slots_are_free(scene: Scene) -> None:
    """With two claims under way, what runs and what is asked for never pass the slots."""
    jobs = scene.enqueue(*range(200))
    asked: list[int] = []
    under_way: list[int] = []

    async def beside(service: Service) -> None:
        async def before(call: SteeredCall) -> None:
            if call.request is None:
                return
            limits = [one.request.limit for one in scene.broker.claims() if one.request]
            asked.append(len(service.desk.running) + sum(limits))
            under_way.append(len(limits))

        scene.broker.before = before
        await scene.done(jobs)
        service.take_in(wire.Drain(0))

    scene.lasts = True
    scene.broker.before = wait_for_first_turn
    assert scene.run(beside)
    assert max(asked) == SLOTS
    assert max(under_way) == 2
    assert Counter(scene.started) == Counter(range(200))


async def wait_for_first_turn(_call: SteeredCall) -> None:
    """Let whoever stands beside the service have its say."""
    await asyncio.sleep(0)


def test_a_wake_up_during_two_claims_is_not_lost(scene: Scene) -> None:
    """Both came back empty, and a job was put in before their answers were told: it runs."""
    first = scene.enqueue(*range(SLOTS // 2))

    async def beside(service: Service) -> None:
        held = await scene.two_claims_held()
        assert [one.jobs for one in held] == [[], []]
        late = scene.enqueue(100)
        await until(lambda: service.pump.feeds[0]._was_woken)
        await scene.let_go(held)
        await scene.done([*first, *late])
        service.take_in(wire.Drain(0))

    assert scene.run(beside)


async def never_hold(_call: SteeredCall) -> None:
    """Give each answer at once."""


def test_an_empty_claim_before_a_full_one_leaves_the_feed_hungry(scene: Scene) -> None:
    """The token of the empty one was used up for jobs of which the full one took some."""
    first = scene.enqueue(*range(SLOTS // 2))

    async def beside(service: Service) -> None:
        empty = await scene.first_claim_held()
        more = scene.enqueue(*range(200, 200 + SLOTS))
        await until(lambda: service.pump.feeds[0]._was_woken)
        _, full = await scene.second_claim_held()
        assert (len(empty.jobs), len(full.jobs)) == (0, SLOTS // 2)
        await scene.let_go((empty, full))
        await scene.done([*first, *more])
        service.take_in(wire.Drain(0))

    assert scene.run(beside)


@pytest.mark.parametrize("place", [0, 1])
def test_a_cancel_reaches_the_job_of_a_claim_under_way(scene: Scene, place: int) -> None:
    """Two claims have taken jobs that are not here yet; the cancelled one never starts."""
    jobs = scene.enqueue(*range(SLOTS // 2 + SLOTS))

    async def beside(service: Service) -> None:
        held = await scene.two_claims_held()
        claimed = held[place].jobs[0]
        assert {len(one.jobs) for one in held} == {SLOTS // 2}
        (job,) = [one for one in jobs if one.id == claimed.id]
        job.cancel()
        service.take_in(wire.CancelJobs(((claimed.id, claimed.fence),)))
        await scene.let_go(held)
        await scene.done([one for one in jobs if one is not job])
        await until(lambda: scene.bench.record(job.id).state is State.CANCELLED)
        service.take_in(wire.Drain(0))

    assert scene.run(beside)
    assert len(scene.started) == len(jobs) - 1


@pytest.mark.parametrize("is_lost", [False, True], ids=["answered", "lost"])
def test_jobs_of_two_claims_that_come_too_late_go_back(scene: Scene, is_lost: bool) -> None:  # noqa: FBT001 - of pytest
    """Told to stop with two rounds under way, a runner settles what ended and what never began."""
    jobs = scene.enqueue(*range(SLOTS // 2 + SLOTS))

    async def beside(service: Service) -> None:
        held = await scene.two_claims_held()
        assert service.pump.unsettled, "a round under way carries settlements"
        service.take_in(wire.Drain(60_000))
        for _ in range(20):
            # It could end now, if it did not wait for them.
            await asyncio.sleep(0)
        assert service.pump.feeds[0].listener.fileno() >= 0, "the service has ended"
        scene.broker.after = never_hold
        for one in reversed(held):
            one.error = OutcomeUnknown("lost by the test: call again") if is_lost else None
            one.go_on.set()

    assert scene.run(beside)
    assert scene.states(jobs) == {State.COMPLETED: SLOTS // 2, State.QUEUED: SLOTS}
    late = [one for one in map(scene.bench.record, (job.id for job in jobs)) if not one.result]
    assert {one.charges for one in late} == {NO_CHARGES}
    assert len(scene.started) == SLOTS // 2
    assert sum(lease.running for lease in scene.store.leases()) == 0


@pytest.mark.parametrize("place", [0, 1])
def test_a_lost_reply_of_one_round_harms_neither(scene: Scene, place: int) -> None:
    """The round is made again under its fence: each job runs once, and is told once."""
    jobs = scene.enqueue(*range(SLOTS // 2 + SLOTS))

    async def beside(service: Service) -> None:
        held = await scene.two_claims_held()
        held[place].error = OutcomeUnknown("the answer is lost by the test: call again")
        await scene.let_go(held)
        await scene.done(jobs)
        service.take_in(wire.Drain(0))

    assert scene.run(beside)
    assert Counter(scene.started) == Counter(range(len(jobs)))
    told = [one.id for one in scene.bench.events if isinstance(one, AttemptFinished)]
    assert Counter(told) == Counter(job.id for job in jobs)


def test_two_claims_under_a_lost_lease_take_nothing(scene: Scene) -> None:
    """Renewed while two claims are on their way to the broker, the runner claims anew."""
    jobs = scene.enqueue(*range(SLOTS // 2 + SLOTS))
    scene.gates = {number: asyncio.Event() for number in range(SLOTS // 2)}

    async def beside(service: Service) -> None:
        await until(lambda: len(scene.started) == SLOTS // 2)
        await until(lambda: len(scene.broker.claims()) == 1)
        for gate in scene.gates.values():
            gate.set()
        await until(lambda: len(scene.broker.claims()) == 2)
        held = scene.broker.claims()
        old, new = service.pump.lease, scene.bench.open_lease()
        scene.store.close_leases([old])
        service.take_in(wire.Renew(lease=new, lost=old))
        scene.broker.before = never_hold
        for one in held:
            one.go_on.set()
        await scene.done(jobs)
        assert [one.jobs for one in held] == [[], []]
        service.take_in(wire.Drain(0))

    async def hold_further(call: SteeredCall) -> None:
        if scene.started:
            await hold_claims(call)

    scene.broker.before = hold_further
    assert scene.run(beside)
    assert Counter(scene.started) == Counter(range(len(jobs)))


@pytest.mark.parametrize("error", [Unavailable, OutcomeUnknown])
@pytest.mark.parametrize("number", SWEEP)
def test_a_failing_call_loses_and_repeats_nothing(
    scene: Scene, number: int, error: type[Exception]
) -> None:
    """Whichever call fails, before or after its write, each job runs as often as without."""
    jobs = scene.enqueue(*range(5 * SLOTS))

    async def fail(call: SteeredCall) -> None:
        if call.number == number:
            raise error("failed by the test: call again")

    if error is Unavailable:
        scene.broker.before = fail
    else:
        scene.broker.after = fail
    assert scene.run()
    assert scene.states(jobs) == {State.COMPLETED: len(jobs)}
    assert Counter(scene.started) == Counter(range(len(jobs)))


def test_the_sweep_reaches_the_last_call(scene: Scene) -> None:
    """A run without faults makes fewer calls than the sweep tries, two of them at once."""
    scene.enqueue(*range(5 * SLOTS))
    most: list[int] = []

    async def count(_call: SteeredCall) -> None:
        most.append(len([one for one in scene.broker.calls if one.is_under_way]))

    scene.broker.before = count
    assert scene.run()
    assert len(scene.broker.calls) < max(SWEEP), [one.verb for one in scene.broker.calls]
    assert max(most) == 2
