"""peek, get, needs, leases, describe: what people and waiting clients see."""

from __future__ import annotations

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core.job import ALONE, Reason, StoredError
from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .cases import requires
from .harness import Capability
from .scene import LEASE_MS, OTHER, QUEUE, Scene, bury, release, retry


def test_peek_tells_the_state_of_each_job(scene: Scene) -> None:
    """Answers stand in order, None for a job that is not known."""
    jobs = [scene.in_state(state) for state in State]
    answers = scene.broker.peek([*jobs, scene.new_id()])
    assert [status and status.state for status in answers] == [*State, None]
    assert [status and status.id for status in answers] == [*jobs, None]


def test_peek_tells_the_result(scene: Scene) -> None:
    """A completed job's result is there for whoever waits for it."""
    job_id = scene.put()
    scene.complete(scene.run(job_id), b'{"rows":3}')
    assert list(scene.broker.peek([job_id])) == [
        r.JobStatus(id=job_id, state=State.COMPLETED, result=msgspec.Raw(b'{"rows":3}'))
    ]


def test_peek_tells_of_a_dropped_result(scene: Scene) -> None:
    """A result that outlived its ttl is told apart from one that never was."""
    job_id = scene.put(result_ttl_ms=1)
    scene.complete(scene.run(job_id), b"1")
    scene.harness.advance(1)
    scene.broker.prune([QUEUE], [], limit=10)
    assert list(scene.broker.peek([job_id])) == [
        r.JobStatus(id=job_id, state=State.COMPLETED, result_dropped=True)
    ]


def test_peek_tells_why_a_job_ended(scene: Scene) -> None:
    """Reason and last error come with the state."""
    error = StoredError("ValueError", "no")
    job = scene.run(scene.put())
    scene.settle(msgspec.structs.replace(bury(job, Reason.NOT_RETRYABLE), error=error))
    assert list(scene.broker.peek([job.id])) == [
        r.JobStatus(id=job.id, state=State.DEAD, reason=Reason.NOT_RETRYABLE, error=error)
    ]


def test_peek_has_a_bound(scene: Scene) -> None:
    """No ids are no answers; over BATCH_MAX breaks the rule."""
    assert list(scene.broker.peek([])) == []
    with pytest.raises(UsageError):
        scene.broker.peek([scene.new_id()] * (r.BATCH_MAX + 1))


def test_get_does_not_know_every_id(scene: Scene) -> None:
    """An id that was never enqueued is None, whatever queue it carries."""
    assert scene.broker.get(scene.new_id()) is None
    assert scene.broker.get(scene.new_id(OTHER)) is None


def test_get_follows_a_job_through_its_attempts(scene: Scene) -> None:
    """Attempts stand in order, the running one last and without an end."""
    job_id = scene.put()
    scene.settle(release(scene.run(job_id, scene.lease(worker="a", pid=1))))
    scene.harness.advance(10)
    scene.run(job_id, scene.lease(worker="b", pid=2))
    first, second = scene.record(job_id).attempts
    assert (first.number, first.worker, first.pid, first.outcome) == (1, "a", 1, "interrupted")
    assert (second.number, second.worker, second.pid, second.outcome) == (2, "b", 2, None)
    assert (second.started_at, second.ended_at) == (scene.harness.wall_ms(), None)


def test_a_spec_that_cannot_be_read_is_shown_empty(scene: Scene) -> None:
    """Garbage in the store breaks neither get nor list."""
    poisoned, good = scene.put_many(2)
    scene.harness.poison(poisoned, b"\xff\xfe{")
    assert scene.record(poisoned).spec.task == ""
    assert {job.id for job in scene.all_jobs()} == {poisoned, good}
    assert scene.state(poisoned) is State.QUEUED


def test_needs_names_the_sets_that_are_not_empty(scene: Scene) -> None:
    """A set is named while a queued job stands in it, and no longer."""
    scene.put(need="alone.m4")
    scene.put(OTHER)
    scheduled = scene.put(delay_ms=50, need="alone.m9")
    assert scene.broker.needs([QUEUE, OTHER]) == {QUEUE: ["alone.m4"], OTHER: ["shared"]}
    assert scene.broker.needs([OTHER]) == {OTHER: ["shared"]}
    job = scene.claim(scene.lease(), r.Offer(QUEUE, ("alone.m4",)))[0]
    assert scene.broker.needs([QUEUE]) == {QUEUE: []}
    scene.settle(release(job, need=ALONE))
    scene.broker.cancel([scheduled])
    assert {q: list(n) for q, n in scene.broker.needs([QUEUE]).items()} == {QUEUE: [ALONE]}


def test_needs_knows_no_sets_of_an_unknown_queue(scene: Scene) -> None:
    """A queue that nobody registered has no sets."""
    assert {q: list(n) for q, n in scene.broker.needs(["unknown"]).items()} == {"unknown": []}


def test_leases_are_listed_with_their_facts(scene: Scene) -> None:
    """Queues, owner, time left, jobs and wake token, for each open lease."""
    assert list(scene.broker.leases()) == []
    first = scene.lease(worker="a", pid=7, wake_token="t")  # noqa: S106 - an address
    scene.put_many(3)
    scene.claim(first, limit=2)
    scene.harness.advance(1_000)
    second = scene.lease(OTHER, ttl_ms=500)
    facts = {lease.id: lease for lease in scene.broker.leases()}
    assert facts[first] == r.LeaseFacts(
        id=first,
        queues=(QUEUE, OTHER),
        owner=scene.owner("a", 7),
        expires_in_ms=LEASE_MS - 1_000,
        running=2,
        wake_token="t",  # noqa: S106 - an address
    )
    assert (facts[second].queues, facts[second].expires_in_ms) == ((OTHER,), 500)


def test_a_lease_counts_the_jobs_that_run_under_it(scene: Scene) -> None:
    """Settled jobs are counted no more."""
    lease = scene.lease()
    first, second = scene.put_many(2)
    jobs = {job.id: job for job in scene.claim(lease)}
    scene.complete(jobs[first])
    assert [facts.running for facts in scene.broker.leases()] == [1]
    scene.settle(retry(jobs[second]))
    assert [facts.running for facts in scene.broker.leases()] == [0]


def test_a_lease_that_ran_out_is_listed_until_it_is_closed(scene: Scene) -> None:
    """Time left is negative by then."""
    scene.lease()
    scene.harness.advance(LEASE_MS + 5)
    assert [facts.expires_in_ms for facts in scene.broker.leases()] == [-5]


@requires(Capability.BOOT_ID)
def test_a_lease_of_another_boot_has_no_time_left_to_tell(scene: Scene) -> None:
    """Instants of another boot mean nothing here."""
    scene.lease()
    scene.harness.reboot()
    assert [facts.expires_in_ms for facts in scene.broker.leases()] == [None]


def test_a_broker_says_what_it_is(scene: Scene) -> None:
    """Kind, location and version are named, and the default class is one that it can give."""
    facts = scene.broker.describe()
    assert facts.kind
    assert facts.location
    assert facts.version
    assert facts.durability in facts.durabilities
    assert facts == scene.harness.open().describe()
