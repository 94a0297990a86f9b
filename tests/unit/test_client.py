"""The client against a broker in memory: what is sent, what is said when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from penstock import App, Job
from penstock.broker.clock import SystemClock
from penstock.broker.requests import BATCH_MAX, Accepted, Durability, EnqueueRequest, Refused
from penstock.brokers.memory import MemoryBroker
from penstock.core.lifecycle import State
from penstock.errors import (
    BadSetting,
    DuplicateKey,
    EnqueueRefused,
    JobNotFound,
    OutcomeUnknown,
    PayloadTooLarge,
    Unavailable,
    WrongContext,
)
from penstock.testing.faulty import Call, Fault, FaultyBroker, Plan, fail_nth


def double(n: int, *, text: str = "") -> int:
    """Return twice the number."""
    return 2 * n


async def adouble(n: int) -> int:
    """Return twice the number."""
    return 2 * n


class Site:
    """An app whose broker in memory fails as planned."""

    def __init__(self, plan: Plan = lambda _call: Fault.NONE) -> None:
        self.app = App("memory://")
        self.double = self.app.task(name="double")(double)
        self.adouble = self.app.task(name="adouble", queue="other")(adouble)
        self.memory = MemoryBroker(SystemClock())
        self.faulty = FaultyBroker(self.memory, plan)
        self.app.install_enqueuer(self.faulty)

    def stored(self) -> int:
        """Return how many jobs the broker holds."""
        return sum(counts.queued + counts.blocked for counts in self.memory.counts())

    def made(self, verb: str) -> int:
        """Return how often a verb was called."""
        return sum(call.verb == verb for call in self.faulty.calls)


def enqueue_nth(number: int, fault: Fault) -> Plan:
    """Return a plan that fails one call of enqueue."""
    return fail_nth(number, fault, verb="enqueue")


def always(fault: Fault) -> Plan:
    """Return a plan that fails every enqueue."""
    return lambda call: fault if call.verb == "enqueue" else Fault.NONE


def test_lost_answer_is_asked_for_again_and_makes_one_job() -> None:
    """After OutcomeUnknown the same ids are sent again: one job, and the caller notices nothing."""
    site = Site(enqueue_nth(1, Fault.LOSE_REPLY))
    job = site.double.enqueue(3)
    assert (site.stored(), site.made("enqueue")) == (1, 2)
    assert job.status() is State.QUEUED


def test_outcome_stays_unknown_when_no_answer_comes() -> None:
    """Three lost answers: OutcomeUnknown, and at most one job."""
    site = Site(always(Fault.LOSE_REPLY))
    with pytest.raises(OutcomeUnknown):
        site.double.enqueue(3)
    assert (site.stored(), site.made("enqueue")) == (1, 3)


def test_refusal_after_a_lost_answer_does_not_make_it_definite() -> None:
    """A retry that is refused proves nothing about the first try: still OutcomeUnknown."""
    site = Site(lambda call: _in_order(call, [Fault.LOSE_REPLY, Fault.REFUSE, Fault.REFUSE]))
    with pytest.raises(OutcomeUnknown) as caught:
        site.double.enqueue(3)
    assert "asked again with the same ids" in str(caught.value.__notes__)
    assert site.stored() == 1


def _in_order(call: Call, faults: Sequence[Fault]) -> Fault:
    if call.verb != "enqueue" or call.number_of_verb > len(faults):
        return Fault.NONE
    return faults[call.number_of_verb - 1]


def test_refused_call_is_definite_and_not_repeated() -> None:
    """Unavailable goes to the caller at once: nothing was written."""
    site = Site(enqueue_nth(1, Fault.REFUSE))
    with pytest.raises(Unavailable):
        site.double.enqueue(3)
    assert (site.stored(), site.made("enqueue")) == (0, 1)
    site.double.enqueue(3)
    assert site.stored() == 1


def test_lost_tags_are_definite() -> None:
    """If even the tags of queues cannot be learned, nothing was written and that is said."""
    site = Site(lambda call: Fault.LOSE_REPLY if call.verb == "register" else Fault.NONE)
    with pytest.raises(Unavailable, match="no job was written"):
        site.double.enqueue(3)
    assert site.made("register") == 3


def test_call_repeated_by_the_network_makes_one_job() -> None:
    """The broker sees every enqueue twice; there is one job and it is no duplicate by key."""
    site = Site(always(Fault.TWICE))
    jobs = site.app.enqueue_many([site.double.call(n) for n in range(5)])
    assert site.stored() == len(set(jobs)) == 5


def test_many_are_cut_into_batches_in_order() -> None:
    """1,001 calls go out in three round trips, and the handles come in the order of the calls."""
    site = Site()
    jobs = site.app.enqueue_many(site.double.call(n) for n in range(2 * BATCH_MAX + 1))
    assert site.made("enqueue") == 3
    payloads = [site.memory.get(job.id) for job in jobs]
    assert [bytes(r.spec.payload) for r in payloads if r] == [
        b'{"n":%d}' % n for n in range(2 * BATCH_MAX + 1)
    ]
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)


def test_failed_batch_tells_what_was_accepted_and_what_not() -> None:
    """The second of three batches is refused: its jobs and the later ones are told apart."""
    site = Site(enqueue_nth(2, Fault.REFUSE))
    with pytest.raises(
        EnqueueRefused, match="501 of 1001 jobs were refused, the first at 500"
    ) as e:
        site.app.enqueue_many([site.double.call(n) for n in range(2 * BATCH_MAX + 1)])
    assert len(e.value.accepted) == BATCH_MAX == site.stored()
    assert [index for index, _ in e.value.refused] == list(range(BATCH_MAX, 2 * BATCH_MAX + 1))
    assert {type(error) for _, error in e.value.refused} == {Unavailable}
    assert "not sent after" in str(e.value.refused[-1][1])


def test_single_jobs_of_many_can_be_refused() -> None:
    """A taken key and an unknown parent refuse their own jobs and no others."""
    site = Site()
    first = site.double.using(key="k").enqueue(1)
    missing = site.adouble.enqueue(1)
    site.memory.cancel([missing.id])
    site.memory.delete([missing.id])
    calls = [
        site.double.call(1),
        site.double.using(key="k").call(2),
        site.double.using(after=missing).call(3),
        site.double.using(key="k").call(1),
    ]
    with pytest.raises(EnqueueRefused) as caught:
        site.app.enqueue_many(calls)
    [(one, taken), (two, unknown)] = caught.value.refused
    assert (one, two) == (1, 2)
    assert isinstance(taken, DuplicateKey)
    assert taken.job_id == first.id
    assert isinstance(unknown, JobNotFound)
    [_, again] = caught.value.accepted
    assert isinstance(again, Job)
    assert (again.id, again.duplicate) == (first.id, True)


def test_same_key_and_arguments_give_the_same_job() -> None:
    """A key with equal arguments gives the first job, with others a DuplicateKey."""
    site = Site()
    keyed = site.double.using(key="k")
    first, second = keyed.enqueue(1, text="a"), keyed.enqueue(text="a", n=1)
    assert (first.id, first.duplicate, second.duplicate) == (second.id, False, True)
    with pytest.raises(DuplicateKey):
        keyed.enqueue(2)
    assert site.double.enqueue(1).id != site.double.enqueue(1).id


def test_class_that_the_broker_lacks_is_refused_alone() -> None:
    """A durability that the broker cannot give refuses its own calls, not those beside them."""
    site = Site()
    with pytest.raises(BadSetting, match="durability"):
        site.double.using(durability=Durability.FSYNC).enqueue(1)
    calls = [
        site.double.call(1),
        site.double.using(durability="fsync").call(2),
        site.double.call(3),
    ]
    with pytest.raises(EnqueueRefused) as caught:
        site.app.enqueue_many(calls)
    assert [index for index, _ in caught.value.refused] == [1]
    assert site.stored() == 2


def test_payload_over_the_cap_is_refused_before_anything_is_sent() -> None:
    """One oversized payload of many: PayloadTooLarge, and nothing reached the broker."""
    site = Site()
    large = site.double.call(1, text="x" * 1_048_577)
    with pytest.raises(PayloadTooLarge, match="1048576 at most"):
        site.app.enqueue_many([site.double.call(1), large])
    with pytest.raises(PayloadTooLarge):
        asyncio.run(site.app.aenqueue_many([large]))
    assert (site.made("enqueue"), site.stored()) == (0, 0)


class Pipe:
    """As little as an enqueuer, which counts its batches."""

    def __init__(self, inner: MemoryBroker) -> None:
        self.inner = inner
        self.batches: list[int] = []

    def register(self, queues: Sequence[str], /) -> Any:
        """Pass on."""
        return self.inner.register(queues)

    def enqueue(
        self, jobs: Sequence[EnqueueRequest], /, *, durability: Durability | None = None
    ) -> Sequence[Accepted | Refused]:
        """Count, and pass on."""
        self.batches.append(len(jobs))
        return self.inner.enqueue(jobs, durability=durability)


def test_calls_of_one_turn_share_a_round_trip() -> None:
    """Two hundred concurrent aenqueue of two queues make one batch, each with its own answer."""
    site = Site()
    pipe = Pipe(site.memory)
    site.app.install_enqueuer(pipe)

    async def main() -> list[Job[int]]:
        calls = [site.double.aenqueue(n) if n % 2 else site.adouble.aenqueue(n) for n in range(200)]
        return list(await asyncio.gather(*calls))

    jobs = asyncio.run(main())
    assert pipe.batches == [200]
    for n, job in enumerate(jobs):
        record = site.memory.get(job.id)
        assert record is not None
        assert bytes(record.spec.payload) == b'{"n":%d}' % n


def test_errors_of_a_shared_round_trip_reach_the_right_caller() -> None:
    """In one batch a bad key, a bad class and a good call each get their own answer."""
    site = Site()
    site.double.using(key="k").enqueue(1)

    async def main() -> list[Any]:
        calls = [
            site.double.using(key="k").aenqueue(2),
            site.double.aenqueue(3),
            site.double.using(durability="local").aenqueue(4),
            site.double.aenqueue(5, text="x" * 2_000_000),
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    taken, good, bad_class, too_large = asyncio.run(main())
    assert isinstance(taken, DuplicateKey)
    assert isinstance(good, Job)
    assert isinstance(bad_class, BadSetting)
    assert isinstance(too_large, PayloadTooLarge)


def test_cancelled_caller_hurts_nobody() -> None:
    """One of three concurrent callers is cancelled before departure: it is not sent, others are."""
    site = Site()

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(site.double.aenqueue(n)) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, cancelled, third = asyncio.run(main())
    assert isinstance(first, Job)
    assert isinstance(cancelled, asyncio.CancelledError)
    assert isinstance(third, Job)
    assert site.stored() == 2


def test_unknown_outcome_of_a_shared_round_trip_goes_to_all() -> None:
    """When the answer of a batch is lost for good, every caller of it learns so."""
    site = Site(always(Fault.LOSE_REPLY))

    async def main() -> list[Any]:
        calls = [site.double.aenqueue(n) for n in range(3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(one) for one in asyncio.run(main())] == [OutcomeUnknown] * 3
    assert site.stored() == 3


READS: dict[str, tuple[Callable[[Job[Any]], object], Callable[[Job[Any]], Any]]] = {
    "status": (Job.status, Job.astatus),
    "record": (Job.record, Job.arecord),
    "cancel": (Job.cancel, Job.acancel),
    "result": (lambda job: job.result(0), lambda job: job.aresult(0)),
}


@pytest.mark.parametrize("verb", READS)
def test_unknown_job_is_told(verb: str) -> None:
    """Each read of an id that was never enqueued raises JobNotFound, sync and async."""
    site = Site()
    site.double.enqueue(1)
    sync, awaited = READS[verb]
    job = site.app.job("0" * 32)
    with pytest.raises(JobNotFound, match="0" * 32):
        sync(job)
    with pytest.raises(JobNotFound):
        asyncio.run(awaited(job))


def test_blocking_wait_in_an_event_loop_is_refused() -> None:
    """result() inside a running loop would block it; the error names aresult."""
    site = Site()
    job = site.double.enqueue(1)

    async def main() -> None:
        job.result()

    with pytest.raises(WrongContext, match=r"await job\.aresult"):
        asyncio.run(main())


def test_enqueuer_without_reads_says_where_to_look() -> None:
    """A pipe to a supervisor can enqueue, sync and async; looking raises WrongContext."""
    site = Site()
    pipe = Pipe(site.memory)
    site.app.install_enqueuer(pipe)
    job = site.double.enqueue(1)
    asyncio.run(site.double.aenqueue(2))
    assert site.stored() == 2
    with pytest.raises(WrongContext, match="child process"):
        job.status()
    with pytest.raises(WrongContext, match="child process"):
        asyncio.run(job.aresult(0))
