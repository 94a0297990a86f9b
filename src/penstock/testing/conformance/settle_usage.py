"""settle: what an attempt was measured to take is kept with it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.broker import requests as r
from penstock.core import settlement as s
from penstock.core.ids import JobId
from penstock.core.job import ATTEMPTS_KEPT, Claimed
from penstock.core.runtime import Runtime
from penstock.core.usage import Usage

from .scene import Scene, bury, complete, release, retry, snooze
from .settle import KINDS

WAIT: tuple[Callable[[Claimed], s.Settlement], ...] = (retry, snooze, release)
"""Those after which the job waits for its next attempt."""

USAGE = Usage(
    peak_bytes=851_443_712,
    baseline_bytes=0,
    reserved_bytes=2**30,
    limit_bytes=2**62,
    measured="hwm",
    cpu_ms=3_210,
    evidence='oom_kill 1; "gr\u00fc\u00dfe"\nand more',
    curve=((0, 0), (2**40, 2**62)),
    runtime=Runtime(
        penstock="1",
        python="3",
        platform="Linux",
        packages="0" * 16,
        environment={"LANG": "gr\u00fc\u00dfe"},
        others=("SHOP",),
    ),
)
"""Every field, with values that a careless store would spoil."""


def with_usage(settlement: s.Settlement, usage: Usage = USAGE) -> s.Settlement:
    """Return a settlement that says what was measured."""
    return msgspec.structs.replace(settlement, usage=usage)


def usages(scene: Scene, job_id: JobId) -> list[Usage | None]:
    """Return the usage of each attempt that is on record, oldest first."""
    return [attempt.usage for attempt in scene.record(job_id).attempts]


def test_each_kind_keeps_the_usage(scene: Scene) -> None:
    """Whatever an attempt ends in, its record holds every field of what it took."""
    for kind in KINDS:
        job = scene.run(scene.put())
        assert scene.settle(with_usage(kind(job))) is s.Applied.APPLIED, kind
        assert usages(scene, job.id) == [USAGE], kind


def test_a_batch_keeps_each_usage_with_its_job(scene: Scene) -> None:
    """Some of a batch were measured and some were not; none gets the usage of another."""
    scene.put_many(12)
    jobs = scene.claim(scene.lease(), limit=12)
    batch: list[s.Settlement] = []
    for number, job in enumerate(jobs):
        plain = KINDS[number // 2](job)
        batch.append(plain if number % 2 else with_usage(plain, Usage(peak_bytes=number)))
    assert list(scene.broker.settle(batch)) == [s.Applied.APPLIED] * 12
    for number, job in enumerate(jobs):
        assert usages(scene, job.id) == [None if number % 2 else Usage(peak_bytes=number)], number


def test_without_a_usage_there_is_none(scene: Scene) -> None:
    """Without a measurement there is no usage, nor while it runs; an empty one is kept."""
    job = scene.run(scene.put())
    assert usages(scene, job.id) == [None]
    scene.settle(with_usage(release(job), Usage()))
    job = scene.run(job.id)
    assert usages(scene, job.id) == [Usage(), None]
    scene.complete(job)
    assert usages(scene, job.id) == [Usage(), None]


def test_each_attempt_keeps_its_own_usage(scene: Scene) -> None:
    """A retry, a snooze and a release keep theirs apart from those of later attempts."""
    job_id = scene.put()
    for number, kind in enumerate(WAIT, 1):
        job = scene.run(job_id)
        scene.settle(with_usage(kind(job), Usage(cpu_ms=number)))
        scene.harness.advance(60_000)
    job = scene.run(job_id)
    scene.settle(with_usage(complete(job), Usage(cpu_ms=4)))
    assert usages(scene, job.id) == [Usage(cpu_ms=number) for number in (1, 2, 3, 4)]


def test_usages_are_kept_as_long_as_their_attempts(scene: Scene) -> None:
    """Of many attempts the last `ATTEMPTS_KEPT` have theirs, whether all were measured or not."""
    job_id = scene.put()
    last = 2 * ATTEMPTS_KEPT
    for number in range(1, last + 1):
        end = release(scene.run(job_id))
        scene.settle(with_usage(end, Usage(cpu_ms=number)) if number % 5 else end)
    expected = [Usage(cpu_ms=n) if n % 5 else None for n in range(ATTEMPTS_KEPT + 1, last + 1)]
    assert usages(scene, job_id) == expected


def test_a_requeue_keeps_the_usages(scene: Scene) -> None:
    """A job with a new budget still shows what it took before, and what it takes then."""
    job = scene.run(scene.put())
    scene.settle(with_usage(bury(job), Usage(cpu_ms=1)))
    scene.broker.requeue([job.id])
    assert usages(scene, job.id) == [Usage(cpu_ms=1)]
    again = scene.run(job.id)
    scene.settle(with_usage(complete(again), Usage(cpu_ms=2)))
    assert usages(scene, job.id) == [Usage(cpu_ms=1), Usage(cpu_ms=2)]


def test_a_usage_leaves_progress_and_checkpoint_alone(scene: Scene) -> None:
    """What the attempt itself wanted kept stands beside what was measured of it."""
    job = scene.run(scene.put())
    raw = msgspec.Raw(b'{"row":2}')
    scene.broker.note([r.Note(id=job.id, fence=job.fence, progress=raw, checkpoint=raw)])
    scene.settle(with_usage(retry(job, delay_ms=0)))
    record = scene.record(job.id)
    assert (record.progress, record.checkpoint) == (raw, raw)
    assert scene.run(job.id).checkpoint == raw
    assert usages(scene, job.id) == [USAGE, None]


def test_a_stale_settlement_keeps_no_usage(scene: Scene) -> None:
    """With another fence nothing is written: not beside a running attempt, not beside an end."""
    job = scene.run(scene.put())
    stranger = msgspec.structs.replace(job, fence=scene.new_fence())
    for kind in KINDS:
        assert scene.settle(with_usage(kind(stranger))) is s.Applied.STALE, kind
        assert usages(scene, job.id) == [None], kind
    scene.complete(job)
    for kind in KINDS:
        assert scene.settle(with_usage(kind(job))) is s.Applied.STALE, kind
        assert usages(scene, job.id) == [None], kind


def test_a_stale_settlement_leaves_the_usage_as_it_is(scene: Scene) -> None:
    """A repeat, or a late answer of an earlier attempt, says nothing of the one that follows."""
    job_id = scene.put()
    first = scene.run(job_id)
    scene.settle(with_usage(release(first), Usage(cpu_ms=1)))
    assert scene.settle(with_usage(release(first), Usage(cpu_ms=9))) is s.Applied.STALE
    second = scene.run(job_id)
    assert scene.settle(with_usage(complete(first), Usage(cpu_ms=9))) is s.Applied.STALE
    assert usages(scene, second.id) == [Usage(cpu_ms=1), None]


def test_a_cancelled_job_keeps_the_usage(scene: Scene) -> None:
    """A retry that a requested cancel turns into the end has been measured all the same."""
    job = scene.run(scene.put())
    scene.broker.cancel([job.id])
    assert scene.settle(with_usage(retry(job))) is s.Applied.CANCELLED
    assert usages(scene, job.id) == [USAGE]


def test_a_cycle_keeps_the_usage(scene: Scene) -> None:
    """What is settled on the way to a claim keeps its usage too."""
    lease = scene.lease()
    scene.put_many(2)
    (job,) = scene.claim(lease, limit=1)
    settled, claimed = scene.broker.cycle([with_usage(complete(job))], scene.request(lease))
    assert (list(settled), len(claimed.jobs)) == ([s.Applied.APPLIED], 1)
    assert usages(scene, job.id) == [USAGE]


def test_a_listing_tells_the_usage(scene: Scene) -> None:
    """A page holds of each job what `get` holds."""
    first, second = scene.put_many(2)
    for job in scene.claim(scene.lease()):
        end = complete(job)
        scene.settle(with_usage(end) if job.id == first else end)
    found = {job.id: job for job in scene.all_jobs()}
    assert [found[one].attempts[0].usage for one in (first, second)] == [USAGE, None]


def test_a_job_that_is_forgotten_takes_its_usage_along(scene: Scene) -> None:
    """The same id, enqueued anew, starts without one."""
    job = scene.run(scene.put())
    scene.settle(with_usage(complete(job)))
    scene.broker.delete([job.id])
    again = scene.run(scene.put(id=job.id))
    scene.complete(again)
    assert usages(scene, again.id) == [None]
