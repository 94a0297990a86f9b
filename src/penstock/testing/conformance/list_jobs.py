"""list_jobs: page through jobs, newest first."""

from __future__ import annotations

import pytest

from penstock.broker import requests as r
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .scene import OTHER, QUEUE, Scene, bury


def listed(scene: Scene, **where: object) -> set[str]:
    """Return the ids of the jobs that match."""
    page = scene.broker.list_jobs(
        r.JobFilter(**where),  # type: ignore[arg-type] # fields of the filter
        limit=100,
        before=None,
    )
    assert page.next_before is None
    return {job.id for job in page.jobs}


def test_an_empty_broker_lists_nothing(scene: Scene) -> None:
    """No jobs are one empty page."""
    page = scene.broker.list_jobs(r.JobFilter(), limit=10, before=None)
    assert page == r.JobPage((), None)


def test_jobs_are_listed_newest_id_first(scene: Scene) -> None:
    """Ids fall over queues and states, whatever the order of arrival."""
    early = scene.job()
    jobs = []
    for queue in (QUEUE, OTHER, QUEUE):
        jobs.append(scene.put(queue))
        scene.harness.advance(1)
    scene.accept(early)
    page = scene.broker.list_jobs(r.JobFilter(), limit=10, before=None)
    assert [job.id for job in page.jobs] == [*reversed(jobs), early.id]


def test_pages_neither_overlap_nor_leave_gaps(scene: Scene) -> None:
    """Following next_before visits each job once, and ends."""
    jobs = scene.put_many(7)
    seen: list[str] = []
    before, pages = None, 0
    while pages == 0 or before is not None:
        page = scene.broker.list_jobs(r.JobFilter(), limit=3, before=before)
        seen += [job.id for job in page.jobs]
        before, pages = page.next_before, pages + 1
    assert seen == list(reversed(jobs))
    assert pages == 3


def test_a_full_last_page_is_the_last(scene: Scene) -> None:
    """When exactly `limit` jobs are left there is no further page to ask for."""
    scene.put_many(4)
    first = scene.broker.list_jobs(r.JobFilter(), limit=2, before=None)
    assert first.next_before is not None
    second = scene.broker.list_jobs(r.JobFilter(), limit=2, before=first.next_before)
    assert (len(second.jobs), second.next_before) == (2, None)


def test_pages_of_a_filter_hold_only_what_matches(scene: Scene) -> None:
    """A filter thins the pages before the limit counts."""
    for number in range(12):
        scene.put(task="wanted" if number % 3 == 0 else "other")
    where = r.JobFilter(task="wanted")
    first = scene.broker.list_jobs(where, limit=2, before=None)
    second = scene.broker.list_jobs(where, limit=2, before=first.next_before)
    assert {job.spec.task for job in (*first.jobs, *second.jobs)} == {"wanted"}
    assert (len(first.jobs), len(second.jobs), second.next_before) == (2, 2, None)


def test_jobs_are_found_by_queue_task_state_and_reason(scene: Scene) -> None:
    """Each condition selects, and all given ones must hold."""
    poison, refused = scene.put(task="a"), scene.put(OTHER, task="b")
    waiting = scene.put(OTHER, task="a")
    scene.settle(bury(scene.run(poison), Reason.POISON))
    scene.broker.cancel([refused])
    assert listed(scene) == {poison, refused, waiting}
    assert listed(scene, queue=OTHER) == {refused, waiting}
    assert listed(scene, task="a") == {poison, waiting}
    assert listed(scene, states=(State.DEAD, State.CANCELLED)) == {poison, refused}
    assert listed(scene, reason=Reason.POISON) == {poison}
    assert listed(scene, queue=OTHER, task="a", states=(State.QUEUED,)) == {waiting}
    assert listed(scene, queue=QUEUE, reason=Reason.BY_OPERATOR) == set()


def test_jobs_of_every_state_are_found_by_it(scene: Scene) -> None:
    """A job is listed under its state, and under no other; no states are no jobs."""
    jobs = {state: scene.in_state(state, task="mine") for state in State}
    for state, job_id in jobs.items():
        assert listed(scene, states=(state,), task="mine") == {job_id}
    assert listed(scene, states=()) == set()


def test_a_filter_is_data(scene: Scene) -> None:
    """Text of a filter is compared, never interpreted."""
    scene.put()
    for text in ("' OR 1=1 --", "%", "_", "*", "q;"):
        assert listed(scene, queue=text) == set()
        assert listed(scene, task=text) == set()


def test_a_listing_is_the_record(scene: Scene) -> None:
    """A listed job says the same as `get` does."""
    job_id = scene.in_state(State.RETRYING, priority=9, tags=("x",))
    (job,) = scene.broker.list_jobs(r.JobFilter(), limit=1, before=None).jobs
    assert job == scene.record(job_id)


def test_a_limit_keeps_to_the_bounds_of_the_port(scene: Scene) -> None:
    """A limit outside 1..BATCH_MAX breaks the rule."""
    for limit in (0, -1, r.BATCH_MAX + 1):
        with pytest.raises(UsageError):
            scene.broker.list_jobs(r.JobFilter(), limit=limit, before=None)
