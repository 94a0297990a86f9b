"""A real worker on a real Redis: every kind of job, and every kind of death, Redis's too."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.broker.requests import CancelAnswer
from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.errors import QueueFull
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.redis_server import RedisServer
from tests.support.supervised import SOON_S, Supervised, wait_gone


@pytest.fixture
def site(redis: RedisServer, tmp_path: Path) -> Iterator[Supervised]:
    """A place for workers, on a server without keys."""
    with closing(redis.client()) as client:
        client.flushall()
    with Supervised(tmp_path, url=redis.url, lease_ttl="600s") as made:
        yield made


def test_every_kind_of_job_runs(site: Supervised) -> None:
    """Coroutine, thread and child; enqueued from sync and async code; results read by both."""
    site.start_ready()
    calls = (tasks.wait.call(0.0), tasks.work.call(0.0), tasks.lone.call(0.0))
    jobs = site.enqueue(*calls)
    in_runner, in_thread, in_child = (job.result(timeout=SOON_S) for job in jobs)
    assert in_runner == in_thread
    assert in_child != in_runner

    async def use() -> list[int]:
        more = await site.app.aenqueue_many(list(calls))
        return [await job.aresult(timeout=SOON_S) for job in more]

    assert asyncio.run(use())[:2] == [in_runner, in_thread]
    assert [record.claim_number for record in site.wait_final(*jobs)] == [1, 1, 1]


def test_jobs_of_jobs_run(site: Supervised) -> None:
    """What a child enqueues over its pipe runs too."""
    site.start_ready()
    (job,) = site.enqueue(tasks.lone_enqueues.call(3))
    (record,) = site.wait_final(job)
    assert record.log == ("enqueuing",)
    site.wait_lines("wait-done", count=3)


def test_a_failed_attempt_is_made_again(site: Supervised) -> None:
    """A crash after a checkpoint: the second attempt finds it, and completes the job."""
    site.start_ready()
    (job,) = site.enqueue(tasks.lone_checkpoints.call())
    assert job.result(timeout=SOON_S) == 42
    (record,) = site.wait_final(job)
    assert [attempt.outcome for attempt in record.attempts] == ["crashed", "succeeded"]


def test_a_poison_job_is_buried(site: Supervised) -> None:
    """A job that always takes its process with it ends dead, and its worker lives."""
    worker = site.start_ready()
    (job,) = site.enqueue(tasks.kill_own_process.call())
    (record,) = site.wait_final(job)
    assert (record.state, record.reason) == (State.DEAD, Reason.POISON)
    assert worker.exit_code is None, worker.report()


@pytest.mark.parametrize("name", ["wait", "work", "lone"])
def test_a_running_job_is_cancelled(site: Supervised, name: str) -> None:
    """The worker is woken by the cancel, and ends coroutine, thread or child."""
    site.start_ready()
    (job,) = site.enqueue(getattr(tasks, name).call(600.0, "long"))
    site.wait_lines("long")
    assert site.cancel(job) is CancelAnswer.REQUESTED
    (record,) = site.wait_final(job)
    assert (record.state, record.reason) == (State.CANCELLED, Reason.BY_OPERATOR)


def test_a_delayed_job_runs_when_it_is_due(site: Supervised) -> None:
    """It waits in the broker, and begins no earlier than it should, by the server's clock."""
    site.start_ready(poll="60s")
    (job,) = site.enqueue(tasks.wait.using(delay="700ms").call(0.0))
    assert site.record(job).state is State.SCHEDULED
    (record,) = site.wait_final(job)
    assert record.attempts[0].started_at >= record.enqueued_at + 700


def test_a_sleeping_worker_is_woken(site: Supervised) -> None:
    """An idle worker that polls once in a long while takes a job that comes."""
    site.start_ready(poll="60s")
    for _ in range(3):
        (job,) = site.enqueue(tasks.wait.call(0.0))
        site.wait_final(job)


def test_jobs_of_a_killed_runner_run_again(site: Supervised) -> None:
    """After SIGKILL of a runner its worker has the jobs run in another process."""
    site.start_ready()
    jobs = site.enqueue(tasks.wait.call(600.0, "a"), tasks.work.call(600.0, "b"))
    runner = int(site.wait_lines("a")[0][2])
    site.wait_lines("b")
    processes.send([runner], signal.SIGKILL)
    for job, name in zip(jobs, "ab", strict=True):
        assert int(site.wait_lines(name, "2")[0][2]) != runner
        assert site.record(job).attempts[0].outcome == "crashed"


def test_a_new_worker_takes_over_from_a_dead_one(site: Supervised) -> None:
    """After SIGKILL of the whole tree a new worker runs the job, 10 minutes before the lease ends.

    It knows from the lease that the owner ran on its own host, and sees that it is gone.
    """
    old = site.start_ready()
    (job,) = site.enqueue(tasks.wait.call(0.5))
    first = site.wait_lines("wait")[0]
    processes.kill_tree(old.pid)
    wait_gone(old.pid, int(first[2]), state=old.report)
    site.start()
    assert site.wait_lines("wait", "2")[0][2] != first[2]
    (record,) = site.wait_final(job)
    assert [attempt.outcome for attempt in record.attempts] == ["lost", "succeeded"]


def test_jobs_outlive_a_restart_of_the_broker(redis: RedisServer, site: Supervised) -> None:
    """Jobs that run when Redis is killed go on, are settled when it is back, and run only once.

    What is enqueued after the restart wakes the same worker, however seldom it polls.
    """
    worker = site.start_ready(poll="60s")
    names = ("wait", "work", "lone")
    jobs = site.enqueue(
        *(getattr(tasks, name).call(2.0, name) for name in names),
        tasks.wait.call(0.0, "short"),
    )
    site.wait_final(jobs[3])
    for name in names:
        site.wait_lines(name)
    redis.kill()
    for name in names:
        # They end while there is nobody to be told.
        site.wait_lines(f"{name}-done")
    worker.wait_log("the broker does not answer, running jobs go on", within_s=SOON_S)
    redis.start()
    for record in site.wait_final(*jobs):
        assert (record.state, record.claim_number) == (State.COMPLETED, 1), record
    (later,) = site.enqueue(tasks.wait.call(0.0, "later"))
    site.wait_final(later)
    site.wait_health(worker, lambda health: health.ready, "it to be ready again")
    for name in (*names, "short", "later"):
        assert len(site.wait_lines(name)) == 1, f"{name} ran twice"


def test_a_worker_outlives_many_restarts(redis: RedisServer, site: Supervised) -> None:
    """Under load, with the broker killed again and again, no accepted job is lost or runs twice."""
    site.start_ready()
    jobs = []
    for _ in range(3):
        jobs += site.enqueue(*(tasks.wait.call(0.01, "one") for _ in range(100)))
        site.wait_lines("one", count=len(jobs) - 50)
        redis.kill()
        redis.start()
    records = site.wait_final(*jobs)
    assert {record.state for record in records} == {State.COMPLETED}
    assert {record.claim_number for record in records} == {1}
    assert len(site.wait_lines("one", count=len(jobs))) == len(jobs)


def test_a_worker_drains_a_full_server(redis: RedisServer, site: Supervised) -> None:
    """While Redis has no memory left producers are refused, and what was accepted runs to its end.

    Failed attempts are made again too, and when there is room producers are served.
    """
    site.start_ready()
    names = ("wait", "work", "lone")
    jobs = site.enqueue(
        *(getattr(tasks, name).call(1.0, name) for name in names),
        tasks.kill_own_process.using(delay="500ms").call(1),
    )
    for name in names:
        site.wait_lines(name)
    with closing(redis.client()) as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(QueueFull, match="memory is full"):
                site.enqueue(tasks.wait.call(0.0))
            site.start_ready()
            records = site.wait_final(*jobs)
        finally:
            client.config_set("maxmemory", 0)
    assert [record.state for record in records] == [State.COMPLETED] * 4
    (later,) = site.enqueue(tasks.wait.call(0.0))
    site.wait_final(later)


def test_a_drained_worker_leaves_no_lease_and_no_thread_behind(site: Supervised) -> None:
    """SIGTERM ends it with 0, its leases are closed, and nobody listens any more."""
    worker = site.start_ready()
    (job,) = site.enqueue(tasks.wait.call(0.2))
    site.wait_lines("wait")
    worker.signal(signal.SIGTERM)
    assert worker.wait_exit(SOON_S) == 0, worker.report()
    assert site.record(job).state is State.COMPLETED
    assert site.broker.leases() == []
    assert not [one for one in threading.enumerate() if one.name == "penstock-listen"]
