"""The sandbox: jobs of an app run on the real path, in memory, with virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from penstock import (
    After,
    App,
    CancelRequested,
    Discard,
    Exponential,
    Retry,
    Snooze,
    State,
    current_job,
)
from penstock.errors import (
    JobCancelled,
    JobDead,
    JobExpired,
    ResultTimeout,
    UsageError,
    WrongContext,
)
from penstock.testing.sandbox import Sandbox

app = App("sqlite:////nowhere/jobs.db")


def notice_dead(job_id: str, reason: str, error: str | None) -> dict[str, Any]:
    """Return what an on_dead task is told."""
    return {"job_id": job_id, "reason": reason, "error": error}


NOTICE = app.task(notice_dead)


@app.task
def double(n: int) -> int:
    """Return twice the number."""
    return 2 * n


@app.task
async def adouble(n: int) -> int:
    """Return twice the number, in a loop."""
    await asyncio.sleep(0)
    return 2 * n


@app.task(
    retries=2,
    backoff=Exponential(base="1min", jitter="none"),
    discard_on=KeyError,
    retry_on=[OSError],
    on_dead=NOTICE,
)
def steer(how: str, times: int = 1) -> int:
    """End as asked in the first `times` attempts, then return the attempt's number."""
    job = current_job()
    if job.attempt > times:
        return job.attempt
    raise {
        "error": OSError("broken"),
        "retry": Retry(after="1h"),
        "snooze": Snooze("1d") if job.claim_number <= times else OSError("woken"),
        "discard": Discard("pointless"),
        "discard_on": KeyError("gone"),
        "not_retried": ValueError("wrong"),
        "cancel": CancelRequested(),
    }[how]


def test_result_comes_after_a_drain() -> None:
    """Enqueue, drain, result: for def and async def, with and without options."""
    with Sandbox(app) as sandbox:
        jobs = [double.enqueue(1), adouble.enqueue(2), double.using(priority=9).enqueue(3)]
        with pytest.raises(ResultTimeout, match=r"drain\(\) before result\(\)"):
            jobs[0].result()
        ran = sandbox.drain()
        assert [job.result() for job in jobs] == [2, 4, 6]
        # The highest priority ran first.
        assert ran[0].job_id == jobs[2].id
        assert {one.outcome for one in ran} == {"succeeded"}
        assert sandbox.drain() == []


def test_time_passes_only_when_asked() -> None:
    """Without advance only what can run now runs; with it delays pass at once."""
    with Sandbox(app) as sandbox:
        now, later = double.enqueue(1), double.using(delay="1d").enqueue(2)
        began = sandbox.clock.wall_ms()
        sandbox.drain(advance=False)
        assert (now.status(), later.status()) == (State.COMPLETED, State.SCHEDULED)
        sandbox.advance("23h")
        sandbox.drain(advance=False)
        assert later.status() is State.SCHEDULED
        sandbox.drain()
        assert later.result() == 4
        assert sandbox.clock.wall_ms() - began == 86_400_000


def test_failures_are_retried_with_the_backoff_of_the_task() -> None:
    """Two failures wait 1 and 2 minutes of virtual time, then the third attempt succeeds."""
    with Sandbox(app) as sandbox:
        job = steer.enqueue("error", times=2)
        began = sandbox.clock.wall_ms()
        outcomes = [one.outcome for one in sandbox.drain()]
        assert outcomes == ["failed", "failed", "succeeded"]
        assert job.result() == 3
        assert sandbox.clock.wall_ms() - began == 3 * 60_000


def test_exhausted_retries_bury_the_job_and_tell_the_on_dead_task() -> None:
    """After three failures the job is dead, with its traceback, and its on_dead task has run."""
    with Sandbox(app) as sandbox:
        job = steer.enqueue("error", times=9)
        ran = sandbox.drain()
        assert [one.outcome for one in ran] == ["failed"] * 3 + ["succeeded"]
        with pytest.raises(JobDead, match="OSError: broken") as caught:
            job.result()
        assert caught.value.reason == "retries_exhausted"
        told = app.job(ran[-1].job_id).result()
        assert told == {
            "job_id": job.id,
            "reason": "retries_exhausted",
            "error": caught.value.error,
        }
        assert "in steer" in str(caught.value.error)


@pytest.mark.parametrize(
    ("how", "outcomes", "state"),
    [
        ("retry", ["retry_asked", "succeeded"], State.COMPLETED),
        ("snooze", ["snooze_asked", "failed", "succeeded"], State.COMPLETED),
        ("discard", ["discarded"], State.CANCELLED),
        ("discard_on", ["discarded"], State.CANCELLED),
        ("not_retried", ["failed"], State.DEAD),
    ],
)
def test_signals_steer_as_in_a_worker(how: str, outcomes: list[str], state: State) -> None:
    """Retry, Snooze, Discard, discard_on and retry_on have their outcomes."""
    with Sandbox(app) as sandbox:
        job = steer.enqueue(how)
        ran = [one.outcome for one in sandbox.drain() if one.job_id == job.id]
        assert (ran, job.status()) == (outcomes, state)


def test_drain_stops_at_a_job() -> None:
    """With until=job nothing runs after that job is final."""
    with Sandbox(app) as sandbox:
        first, second, third = (double.enqueue(n) for n in range(3))
        sandbox.drain(until=second)
        assert (first.result(), second.result()) == (0, 2)
        assert third.status() is State.QUEUED


def test_parents_expiry_keys_and_cancel_work_as_in_a_broker() -> None:
    """Children wait and are cancelled with a failed parent; keys, deadlines and cancel hold."""
    with Sandbox(app) as sandbox:
        good, bad = double.enqueue(1), steer.enqueue("not_retried")
        after_good = double.using(after=good).enqueue(2)
        after_bad = double.using(after=bad).enqueue(3)
        all_the_same = double.using(after=[good, After(bad, on_failure="ignore")]).enqueue(4)
        late = double.using(delay="2h", expires="1h").enqueue(5)
        gone = double.enqueue(6)
        keyed = double.using(key="k")
        assert keyed.enqueue(7) == keyed.enqueue(7)
        gone.cancel()
        sandbox.drain()
        assert (after_good.result(), all_the_same.result()) == (4, 8)
        for job, error in ((after_bad, JobCancelled), (late, JobExpired), (gone, JobCancelled)):
            with pytest.raises(error):
                job.result()


@app.task
def spawn(depth: int) -> list[str]:
    """Enqueue a child unless this is the last one, and report on the way."""
    job = current_job()
    seen = job.last_checkpoint(list[str]) or []
    job.progress({"depth": depth})
    job.log(f"depth {depth}")
    job.checkpoint([*seen, f"attempt {job.attempt}"])
    if not seen:
        raise Retry
    if depth:
        spawn.enqueue(depth - 1)
    return job.last_checkpoint(list[str]) or []


def test_tasks_enqueue_report_and_leave_checkpoints() -> None:
    """What a task enqueues runs in the same drain; progress, log and checkpoints are kept."""
    with Sandbox(app) as sandbox:
        job = spawn.enqueue(2)
        ran = sandbox.drain()
        assert [one.task for one in ran] == [spawn.name] * 6
        assert job.result() == ["attempt 1", "attempt 2"]
        record = job.record()
        assert record.log == ("depth 2", "depth 2")
        assert record.progress is not None
        assert bytes(record.progress) == b'{"depth":2}'


def make(name: str, function: Callable[..., Any], **options: Any) -> tuple[App, Any]:
    """Return an app with one task."""
    own = App("sqlite:////nowhere/jobs.db")
    return own, own.task(name=name, **options)(function)


def test_plain_functions_run_in_the_thread_of_the_test() -> None:
    """A plain function sees the test's thread and no running loop: it may start its own."""

    def where() -> list[object]:
        asyncio.run(asyncio.sleep(0))
        return [threading.get_ident(), current_job().attempt]

    own, task = make("where", where, isolation="process")
    with Sandbox(own) as sandbox:
        job = task.enqueue()
        sandbox.drain()
        assert job.result() == [threading.get_ident(), 1]


def test_running_task_sees_its_cancel() -> None:
    """A task that cancels its own job sees it, and a retry of it is written as cancelled."""

    def cancel_me() -> None:
        job = current_job()
        assert not job.cancelled
        own.job(job.id).cancel()
        assert job.cancelled
        raise Retry

    own, task = make("cancel_me", cancel_me)
    with Sandbox(own) as sandbox:
        job = task.enqueue()
        sandbox.drain()
        assert job.status() is State.CANCELLED


def test_hooks_and_middleware_run() -> None:
    """Start hooks run before the first job, middleware around each, stop hooks at the end."""
    seen: list[str] = []
    own, task = make("noted", lambda: seen.append("job"))

    @own.on_runner_start
    async def start() -> None:
        seen.append("start")

    @own.on_runner_stop
    def stop() -> None:
        seen.append("stop")

    @own.middleware
    async def around(job: Any, call_next: Any) -> Any:
        seen.append(f"before {job.task}")
        result = await call_next()
        seen.append("after")
        return result

    with Sandbox(own) as sandbox:
        task.enqueue()
        sandbox.drain()
        task.enqueue()
        sandbox.drain()
    one = ["before noted", "job", "after"]
    assert seen == ["start", *one, *one, "stop"]


def test_task_that_feeds_itself_for_ever_is_stopped() -> None:
    """A drain of more than `attempts_max` attempts is a usage error, not a hanging test."""

    def again() -> None:
        task.enqueue()

    own, task = make("again", again)
    with Sandbox(own, attempts_max=50) as sandbox:
        task.enqueue()
        with pytest.raises(
            UsageError, match="50 attempts ran in one drain, the last of task again"
        ):
            sandbox.drain()


def test_sandbox_works_in_an_event_loop() -> None:
    """Async with, aenqueue, adrain and aresult; plain functions run in another thread there."""

    def where() -> int:
        return threading.get_ident()

    own, task = make("where", where)
    atask = own.task(name="adouble")(adouble.__wrapped__)

    async def main() -> tuple[int, int]:
        async with Sandbox(own) as sandbox:
            job, other = await task.aenqueue(), await atask.aenqueue(4)
            with pytest.raises(ResultTimeout):
                await job.aresult()
            with pytest.raises(WrongContext, match="await adrain"):
                sandbox.drain()
            await sandbox.adrain(until=other)
            await sandbox.adrain()
            return await job.aresult(), await other.aresult()

    thread, doubled = asyncio.run(main())
    assert doubled == 8
    assert thread != threading.get_ident()


def test_app_is_connected_as_before_afterwards() -> None:
    """Leaving the sandbox, also by an error, gives the app its own broker back."""
    own, task = make("t", lambda: None)
    own.install_enqueuer(before := Sandbox(own).broker)

    def fail() -> None:
        with Sandbox(own):
            task.enqueue()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert before.counts() == []
    task.enqueue()
    assert [counts.queued for counts in before.counts()] == [1]


def test_fixture_opens_a_sandbox_until_the_test_ends(
    penstock_sandbox: Callable[[App], Sandbox],
) -> None:
    """The pytest fixture is a function from an app to an open sandbox."""
    sandbox = penstock_sandbox(app)
    job = double.enqueue(21)
    sandbox.drain()
    assert job.result() == 42
