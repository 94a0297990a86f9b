"""enqueue: store jobs."""

from __future__ import annotations

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core.lifecycle import State
from penstock.errors import BadSetting, PayloadTooLarge, UsageError

from .scene import OTHER, QUEUE, Scene


def test_a_job_that_is_due_is_queued(scene: Scene) -> None:
    """A job without a due time, or with one that is past, is queued at once."""
    now = scene.harness.wall_ms()
    jobs = [scene.job(), scene.job(due_at=now), scene.job(due_at=now - 1), scene.job(delay_ms=0)]
    answers = scene.accept(*jobs)
    assert [answer.state for answer in answers] == [State.QUEUED] * 4
    assert scene.states(*(job.id for job in jobs)) == [State.QUEUED] * 4


def test_a_job_that_is_due_later_is_scheduled(scene: Scene) -> None:
    """A delay counts from the moment of acceptance, an instant is taken as it is."""
    now = scene.harness.wall_ms()
    delayed, dated = scene.job(delay_ms=500), scene.job(due_at=now + 700)
    answers = scene.accept(delayed, dated)
    assert [answer.state for answer in answers] == [State.SCHEDULED] * 2
    assert scene.record(delayed.id).due_at == now + 500
    assert scene.record(dated.id).due_at == now + 700


def test_everything_that_was_asked_for_is_kept(scene: Scene) -> None:
    """The record gives back the spec, the parents and the instants."""
    parent = scene.put(delay_ms=1_000)
    request = scene.job(
        OTHER,
        after=(parent,),
        payload=b'{"path":"a \\u00e4","k":[1,2.5,null]}',
        priority=9,
        need="alone.m7",
        expires_ms=5_000,
        retries=7,
        timeout_ms=60_000,
        soft_timeout_ms=50_000,
        key="graph 42",
        result_ttl_ms=1_000,
        tenant="acme",
        tags=("red", "blue"),
        triggered_by="cron",
        memory_bytes=2**31,
        size=1.5,
    )
    scene.accept(request)
    record, now = scene.record(request.id), scene.harness.wall_ms()
    assert record.queue == OTHER
    assert record.spec == request.spec
    assert record.parents == request.parents
    assert record.enqueued_at == now
    assert record.expires_at == now + 5_000
    assert (record.claim_number, record.attempts, record.result) == (0, (), None)


def test_known_ids_among_new_ones_make_no_second_job(scene: Scene) -> None:
    """Of a batch only what is not there yet is stored, and each is told which it is."""
    jobs = [scene.job() for _ in range(4)]
    scene.accept(jobs[1], jobs[3])
    answers = scene.accept(*jobs)
    assert [answer.duplicate for answer in answers] == [False, True, False, True]
    assert [answer.state for answer in answers] == [State.QUEUED] * 4
    assert scene.counts().queued == 4
    claimed = scene.claim(scene.lease())
    assert sorted(job.id for job in claimed) == sorted(job.id for job in jobs)
    assert [answer.duplicate for answer in scene.accept(*jobs)] == [True] * 4


def test_the_answer_names_what_it_survives(scene: Scene) -> None:
    """Each class that the broker can give may be asked for, and the answer says which it is."""
    facts = scene.broker.describe()
    (plain,) = scene.accept(scene.job())
    assert plain.durability is facts.durability
    for durability in facts.durabilities:
        (answer,) = scene.broker.enqueue([scene.job()], durability=durability)
        assert isinstance(answer, r.Accepted)
        assert answer.durability is durability


def test_a_durability_that_cannot_be_given_is_refused(scene: Scene) -> None:
    """Asking for more than the broker can promise raises BadSetting and stores nothing."""
    missing = set(r.Durability) - set(scene.broker.describe().durabilities)
    assert missing, "every broker lacks some class"
    for durability in missing:
        with pytest.raises(BadSetting, match=durability):
            scene.broker.enqueue([scene.job()], durability=durability)
    assert scene.all_jobs() == []


def test_the_same_id_is_the_same_job(scene: Scene) -> None:
    """Enqueueing an id again writes nothing, whatever it says, and answers as a duplicate."""
    request = scene.job(priority=3)
    scene.accept(request)
    (again,) = scene.accept(request)
    assert again == r.Accepted(
        request.id, State.QUEUED, scene.broker.describe().durability, duplicate=True
    )
    scene.accept(scene.job(id=request.id, priority=8, delay_ms=9_000))
    assert scene.record(request.id).spec.priority == 3
    assert scene.counts().queued == 1


def test_the_same_id_twice_in_one_batch_is_one_job(scene: Scene) -> None:
    """Of two requests with one id in a batch the second is a duplicate of the first."""
    request = scene.job()
    answers = scene.accept(request, request)
    assert [answer.duplicate for answer in answers] == [False, True]
    assert scene.counts().queued == 1


def test_a_known_id_is_a_duplicate_even_where_a_new_job_would_be_refused(scene: Scene) -> None:
    """Whether the id is known is asked first: before size, key and parents."""
    first, keyed = scene.job(), scene.job(key="k", key_digest="d")
    scene.accept(first, keyed)
    too_large = b'"' + b"x" * scene.harness.payload_bytes_max + b'"'
    (by_size,) = scene.accept(scene.job(id=first.id, payload=too_large))
    (by_parent,) = scene.accept(scene.job(id=first.id, after=(scene.new_id(),)))
    (by_key,) = scene.accept(scene.job(id=first.id, key="k", key_digest="other"))
    assert [answer.id for answer in (by_size, by_parent, by_key)] == [first.id] * 3
    assert all(answer.duplicate for answer in (by_size, by_parent, by_key))


def test_a_duplicate_takes_no_key(scene: Scene) -> None:
    """Repeating an id with a key leaves the key free for others."""
    first = scene.put()
    scene.accept(scene.job(id=first, key="k", key_digest="d"))
    (answer,) = scene.accept(scene.job(key="k", key_digest="other"))
    assert not answer.duplicate


def test_a_duplicate_tells_the_present_state(scene: Scene) -> None:
    """A job that went on meanwhile answers with where it is now, and is not started anew."""
    request = scene.job()
    scene.accept(request)
    scene.complete(scene.run(request.id))
    (again,) = scene.accept(request)
    assert again.state is State.COMPLETED
    assert scene.counts().queued == 0


def test_a_payload_may_be_as_large_as_allowed(scene: Scene) -> None:
    """A payload of payload_bytes_max is stored, one of a byte more is refused; others go on."""
    room = scene.harness.payload_bytes_max - 2
    fits, too_large = b'"' + b"x" * room + b'"', b'"' + b"x" * (room + 1) + b'"'
    requests = [scene.job(payload=too_large), scene.job(payload=fits)]
    refused, accepted = scene.broker.enqueue(requests)
    assert isinstance(refused, r.Refused)
    assert isinstance(refused.error, PayloadTooLarge)
    assert isinstance(accepted, r.Accepted)
    assert [job.id for job in scene.all_jobs()] == [requests[1].id]


def test_answers_stand_in_the_order_of_the_call(scene: Scene) -> None:
    """Jobs of several queues get one answer each, in order."""
    jobs = [scene.job(QUEUE if at % 2 else OTHER) for at in range(20)]
    answers = scene.accept(*jobs)
    assert [answer.id for answer in answers] == [job.id for job in jobs]
    assert (scene.counts(QUEUE).queued, scene.counts(OTHER).queued) == (10, 10)


def test_a_full_batch_is_stored(scene: Scene) -> None:
    """BATCH_MAX jobs fit into one call."""
    scene.put_many(r.BATCH_MAX)
    assert scene.counts().queued == r.BATCH_MAX


def test_a_batch_has_one_to_batch_max_jobs(scene: Scene) -> None:
    """An empty batch and one over BATCH_MAX break the port's rule and store nothing."""
    for jobs in ([], [scene.job() for _ in range(r.BATCH_MAX + 1)]):
        with pytest.raises(UsageError, match=f"{len(jobs)}"):
            scene.broker.enqueue(jobs)
    assert scene.all_jobs() == []


def test_a_request_that_contradicts_itself_stores_nothing(scene: Scene) -> None:
    """An unknown queue, an id of another queue, two due times and a parent twice are refused.

    The whole call is: the job before the wrong one is not stored either.
    """
    parent = scene.put(OTHER)
    stranger = msgspec.structs.replace(scene.job(), queue="unregistered")
    wrong_tag = scene.job(id=scene.new_id(OTHER))
    two_times = scene.job(delay_ms=5, due_at=scene.harness.wall_ms())
    twice = scene.job(after=(parent, parent))
    for wrong in (stranger, wrong_tag, two_times, twice):
        with pytest.raises(UsageError):
            scene.broker.enqueue([scene.job(), wrong])
    assert [job.id for job in scene.all_jobs()] == [parent]
