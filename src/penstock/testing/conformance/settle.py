"""settle: apply what workers decided, guarded by the fence."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core import settlement as s
from penstock.core.job import ALONE, NO_CHARGES, Charges, Claimed, Reason, StoredError
from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .scene import LEASE_MS, QUEUE, Scene, bury, complete, discard, release, retry, snooze

KINDS: tuple[Callable[[Claimed], s.Settlement], ...] = (
    complete,
    retry,
    bury,
    snooze,
    release,
    discard,
)
"""One settlement of each kind."""

ERROR = StoredError("ValueError", "no such path", "Traceback ...")
"""An error of user code."""


def test_complete_keeps_the_result(scene: Scene) -> None:
    """From running to completed, with the result, the instant, and the attempt's end."""
    job = scene.run(scene.put())
    scene.harness.advance(70)
    assert scene.complete(job, b'{"rows":3}') is s.Applied.APPLIED
    record = scene.record(job.id)
    assert (record.state, record.reason) == (State.COMPLETED, None)
    assert record.result is not None
    assert bytes(record.result) == b'{"rows":3}'
    assert record.finished_at == scene.harness.wall_ms()
    (attempt,) = record.attempts
    assert (attempt.outcome, attempt.error) == ("succeeded", None)
    assert attempt.ended_at == scene.harness.wall_ms() == attempt.started_at + 70


def test_complete_without_a_result_has_none(scene: Scene) -> None:
    """A task that keeps nothing completes without a result, which is not a dropped one."""
    job = scene.run(scene.put())
    scene.complete(job, None)
    record = scene.record(job.id)
    assert (record.state, record.result, record.result_dropped) == (State.COMPLETED, None, False)


def test_a_result_over_the_cap_is_dropped(scene: Scene) -> None:
    """The job completes, the answer says that its result was dropped, and the record too."""
    first, second = scene.put_many(2)
    fits, too_large = scene.claim(scene.lease())
    room = scene.harness.payload_bytes_max - 2
    assert scene.complete(fits, b'"' + b"x" * room + b'"') is s.Applied.APPLIED
    answer = scene.complete(too_large, b'"' + b"x" * (room + 1) + b'"')
    assert answer is s.Applied.RESULT_DROPPED
    assert scene.states(first, second) == [State.COMPLETED] * 2
    record = scene.record(second)
    assert (record.result, record.result_dropped) == (None, True)


def test_retry_waits_and_charges(scene: Scene) -> None:
    """From running to retrying, due by the broker's clock, with the charges and the error."""
    job = scene.run(scene.put())
    settlement = msgspec.structs.replace(
        retry(job, delay_ms=900),
        charges=Charges(errors=2, suspect=True, bystander=True),
        error=ERROR,
    )
    assert scene.settle(settlement) is s.Applied.APPLIED
    record = scene.record(job.id)
    assert record.state is State.RETRYING
    assert record.due_at == scene.harness.wall_ms() + 900
    assert record.charges == Charges(errors=2, suspect=True, bystander=True)
    assert (record.finished_at, record.error) == (None, ERROR)


def test_bury_says_why(scene: Scene) -> None:
    """From running to dead, with reason, charges and error."""
    job = scene.run(scene.put())
    settlement = msgspec.structs.replace(
        bury(job, Reason.POISON), charges=Charges(crashes=3), error=ERROR
    )
    assert scene.settle(settlement) is s.Applied.APPLIED
    record = scene.record(job.id)
    assert (record.state, record.reason) == (State.DEAD, Reason.POISON)
    assert (record.charges, record.error) == (Charges(crashes=3), ERROR)
    assert record.finished_at == scene.harness.wall_ms()


def test_snooze_waits_and_charges_nothing(scene: Scene) -> None:
    """From running to scheduled, due by the broker's clock."""
    job = scene.run(scene.put())
    assert scene.settle(snooze(job, delay_ms=300)) is s.Applied.APPLIED
    record = scene.record(job.id)
    assert (record.state, record.charges) == (State.SCHEDULED, NO_CHARGES)
    assert record.due_at == scene.harness.wall_ms() + 300


def test_release_gives_the_job_back(scene: Scene) -> None:
    """From running to queued, and claimable at once."""
    job = scene.run(scene.put())
    assert scene.settle(release(job)) is s.Applied.APPLIED
    record = scene.record(job.id)
    assert (record.state, record.charges) == (State.QUEUED, NO_CHARGES)
    assert scene.run(job.id).claim_number == 2


def test_cancel_ends_the_job(scene: Scene) -> None:
    """From running to cancelled, with its reason."""
    job = scene.run(scene.put())
    assert scene.settle(discard(job)) is s.Applied.APPLIED
    record = scene.record(job.id)
    assert (record.state, record.reason) == (State.CANCELLED, Reason.DISCARDED)
    assert record.finished_at == scene.harness.wall_ms()


def test_the_fence_must_match(scene: Scene) -> None:
    """A settlement of any kind with another fence is stale, and writes nothing at all."""
    job = scene.run(scene.put())
    before = scene.record(job.id)
    for kind in KINDS:
        stranger = msgspec.structs.replace(job, fence=scene.new_fence())
        assert scene.settle(kind(stranger)) is s.Applied.STALE, kind
        assert scene.record(job.id) == before, kind
    assert scene.complete(job) is s.Applied.APPLIED


def test_a_settlement_is_applied_once(scene: Scene) -> None:
    """After a settlement its fence has moved on, wherever the job went."""
    for first in KINDS:
        job = scene.run(scene.put())
        assert scene.settle(first(job)) is s.Applied.APPLIED, first
        before = scene.record(job.id)
        for second in KINDS:
            assert scene.settle(second(job)) is s.Applied.STALE, (first, second)
            assert scene.record(job.id) == before, (first, second)


def test_an_old_fence_does_not_settle_the_next_attempt(scene: Scene) -> None:
    """A late result of the first attempt finds the second running, and changes nothing."""
    job_id = scene.put()
    first = scene.run(job_id)
    scene.settle(release(first))
    second = scene.run(job_id)
    assert scene.complete(first, b'"late"') is s.Applied.STALE
    assert scene.state(job_id) is State.RUNNING
    assert scene.complete(second, b'"right"') is s.Applied.APPLIED
    assert bytes(scene.record(job_id).result or b"") == b'"right"'


def test_an_unknown_job_is_stale(scene: Scene) -> None:
    """A job that is forgotten, or never was, has no fence to match."""
    job = scene.run(scene.put())
    scene.complete(job)
    scene.broker.delete([job.id])
    assert scene.complete(job) is s.Applied.STALE
    assert scene.all_jobs() == []


def test_each_settlement_of_a_batch_stands_alone(scene: Scene) -> None:
    """Answers stand in order; a stale one among them stops none of the others."""
    scene.put_many(7)
    jobs = scene.claim(scene.lease())
    stale = msgspec.structs.replace(jobs[3], fence=scene.new_fence())
    batch: list[s.Settlement] = [
        complete(jobs[0]), retry(jobs[1]), bury(jobs[2]), complete(stale),
        snooze(jobs[4]), release(jobs[5]), discard(jobs[6]),
    ]  # fmt: skip
    answers = list(scene.broker.settle(batch))
    assert answers == [s.Applied.STALE if at == 3 else s.Applied.APPLIED for at in range(7)]
    assert scene.states(*(job.id for job in jobs)) == [
        State.COMPLETED, State.RETRYING, State.DEAD, State.RUNNING,
        State.SCHEDULED, State.QUEUED, State.CANCELLED,
    ]  # fmt: skip


def test_a_lease_that_ran_out_still_settles(scene: Scene) -> None:
    """Until somebody takes the job over, its worker may settle: the fence decides, not the time."""
    job = scene.run(scene.put(), scene.lease())
    scene.harness.advance(10 * LEASE_MS)
    assert scene.complete(job) is s.Applied.APPLIED


def test_a_closed_lease_still_settles(scene: Scene) -> None:
    """Closing a lease ends its claims; what ran is settled by the fence that it has."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    assert scene.complete(job) is s.Applied.APPLIED


def test_a_settlement_chooses_the_next_ready_set(scene: Scene) -> None:
    """A need sends the job to that set, no need back to the one of its spec."""
    job_id = scene.put()
    for kind, need in ((release, ALONE), (release, None), (retry, ALONE), (retry, None)):
        running = scene.run(job_id)
        scene.settle(
            release(running, need=need) if kind is release else retry(running, 0, need=need)
        )
        scene.broker.promote([QUEUE], limit=1)
        assert scene.broker.needs([QUEUE])[QUEUE] == [need or "shared"]


def test_the_record_names_the_process_that_ran_it(scene: Scene) -> None:
    """A settlement may name the child's pid; without, the claiming process stays on record."""
    job_id = scene.put()
    lease = scene.lease(pid=4711)
    scene.settle(msgspec.structs.replace(release(scene.run(job_id, lease)), pid=5000))
    scene.settle(release(scene.run(job_id, lease)))
    assert [attempt.pid for attempt in scene.record(job_id).attempts] == [5000, 4711]


def test_each_attempt_keeps_its_own_error(scene: Scene) -> None:
    """The job's error is that of the last attempt that had one; success does not hide it."""
    job_id = scene.put()
    scene.settle(msgspec.structs.replace(retry(scene.run(job_id), 0), error=ERROR))
    scene.complete(scene.run(job_id))
    record = scene.record(job_id)
    assert [attempt.error for attempt in record.attempts] == [ERROR, None]
    assert record.error == ERROR


def test_an_empty_batch_settles_nothing(scene: Scene) -> None:
    """No settlements, no answers."""
    assert list(scene.broker.settle([])) == []


def test_a_batch_keeps_to_the_bounds_of_the_port(scene: Scene) -> None:
    """Over BATCH_MAX settlements, or two for one job, break the rule; nothing is written."""
    job = scene.run(scene.put())
    twice: list[s.Settlement] = [complete(job), bury(job)]
    too_many: list[s.Settlement] = [
        msgspec.structs.replace(complete(job), id=scene.new_id()) for _ in range(r.BATCH_MAX)
    ]
    for batch in (twice, [complete(job), *too_many]):
        with pytest.raises(UsageError):
            scene.broker.settle(batch)
    assert scene.state(job.id) is State.RUNNING
