"""A real runner is told to stop: draining, releasing, quiet, cancels, limits, a dead supervisor."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import Job
from penstock.core.ids import Fence
from penstock.core.job import NO_CHARGES, Reason
from penstock.core.lifecycle import State
from penstock.worker import wire
from tests.support import runner_app as jobs
from tests.support.eventually import eventually
from tests.support.runner_bench import RunnerBench
from tests.support.wire_driver import RunnerDriver


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RunnerBench]:
    """A broker file, and the tasks of the tests' app on it."""
    with RunnerBench(tmp_path) as made:
        yield made


HOLDS = pytest.mark.parametrize("task", [jobs.hold, jobs.hold_thread], ids=["coroutine", "thread"])


def running(bench: RunnerBench, task: Any, **changes: Any) -> tuple[RunnerDriver, Job[Any], Path]:
    """Return a runner that runs one job, the job, and the file that lets it end."""
    began, until = bench.path("began"), bench.path("until")
    job = task.enqueue(began, until)
    runner = bench.started(**changes)
    bench.wait_lines(began, 1)
    return runner, job, Path(until)


@HOLDS
def test_a_drain_waits_for_what_runs(bench: RunnerBench, task: Any) -> None:
    """A draining runner claims nothing more and ends when its jobs have."""
    runner, job, until = running(bench, task)
    runner.say(wire.Drain(60_000))
    late = jobs.add.enqueue(1, 1)
    until.touch()
    assert runner.wait_exit() == 0
    runner.wait_for(wire.Drained)
    assert job.result(timeout=0) == "held"
    assert bench.record(late).state is State.QUEUED


@HOLDS
@pytest.mark.parametrize("order", [wire.Drain(50), wire.ReleaseNow()], ids=["grace", "now"])
def test_past_the_grace_jobs_are_released_uncharged(
    bench: RunnerBench, task: Any, order: Any
) -> None:
    """What has not ended is interrupted and goes back to its queue; nothing is charged."""
    runner, job, _ = running(bench, task)
    runner.say(order)
    assert runner.wait_exit() == 0, runner.report()
    runner.wait_for(wire.Drained)
    record = bench.record(job)
    assert (record.state, record.charges) == (State.QUEUED, NO_CHARGES)
    assert record.attempts[-1].outcome == "interrupted"


def test_a_job_that_does_not_end_is_released_all_the_same(bench: RunnerBench) -> None:
    """A job that swallows its interruption is released, and its process ends at once."""
    runner, job, _ = running(bench, jobs.deaf)
    runner.say(wire.ReleaseNow())
    assert runner.wait_exit() == 0
    assert bench.record(job).state is State.QUEUED


def test_release_now_ends_a_drain(bench: RunnerBench) -> None:
    """A second word does not wait for the grace of the first."""
    runner, job, _ = running(bench, jobs.hold)
    runner.say(wire.Drain(600_000))
    runner.say(wire.ReleaseNow())
    assert runner.wait_exit() == 0
    assert bench.record(job).state is State.QUEUED


def test_the_attempt_left_out_is_not_touched(bench: RunnerBench) -> None:
    """A drain leaves the attempt that its supervisor takes care of as it is."""
    runner, job, _ = running(bench, jobs.deaf)
    began, until = bench.path("began2"), bench.path("until2")
    neighbour = jobs.hold.enqueue(began, until)
    bench.wait_lines(began, 1)
    runner.say(wire.Drain(60_000, except_job=job.id))
    Path(until).touch()
    runner.wait_exit()
    assert neighbour.result(timeout=0) == "held"
    assert bench.record(job).state is State.RUNNING


def test_quiet_stops_claiming_and_nothing_else(bench: RunnerBench) -> None:
    """A quiet runner goes on with what it runs, and claims again when told."""
    runner, job, until = running(bench, jobs.hold)
    runner.say(wire.Quiet(on=True))
    runner.say(wire.Slots(1))
    runner.wait_for(wire.Yielded)
    late = jobs.add.enqueue(1, 1)
    until.touch()
    bench.wait_state(job.id, State.COMPLETED)
    assert bench.record(late).state is State.QUEUED
    runner.say(wire.Quiet(on=False))
    assert bench.wait_result(late.id) == 2


@HOLDS
def test_a_cancel_ends_the_attempt(bench: RunnerBench, task: Any) -> None:
    """A running job is cancelled by job and fence; another fence does nothing."""
    runner, job, until = running(bench, task)
    fence = claim_of(bench, job)
    runner.say(wire.CancelJobs(((job.id, Fence("0" * 32)),)))
    assert job.cancel().value == "requested"
    runner.say(wire.CancelJobs(((job.id, fence),)))
    record = bench.wait_state(job.id, State.CANCELLED)
    assert record.reason is Reason.BY_OPERATOR
    assert not until.exists()


def claim_of(bench: RunnerBench, job: Job[Any]) -> Fence:
    """Return the fence of a running job, as the supervisor learns it: with the cancel."""
    job.cancel()
    answer = bench.broker.extend([bench.runners[-1].lease], ttl_ms=600_000)
    return next(one.fence for one in answer.cancels if one.id == job.id)


def test_hard_limits_are_watched_and_kept(bench: RunnerBench) -> None:
    """The supervisor is told of a hard limit before the job starts, and of its end."""
    job = jobs.limited.enqueue(bench.path("began"))
    runner = bench.started()
    watch = runner.wait_for(wire.Watch)
    assert watch.id == job.id
    record = bench.wait_state(job.id, State.DEAD)
    assert record.attempts[-1].outcome == "timed_out"
    runner.wait_for(wire.Unwatch, lambda told: (told.id, told.fence) == (watch.id, watch.fence))


def test_a_soft_limit_interrupts_a_coroutine(bench: RunnerBench) -> None:
    """The call's own soft limit wins over the task's, which has none."""
    job = jobs.hold.using(soft_timeout=0.1, retries=0).enqueue(bench.path("b"), bench.path("u"))
    bench.started()
    record = bench.wait_state(job.id, State.DEAD)
    assert record.error is not None
    assert (record.attempts[-1].outcome, record.error.kind) == ("timed_out", "SoftTimeLimit")


def test_slots_are_yielded_when_their_jobs_have_ended(bench: RunnerBench) -> None:
    """Fewer threads are granted at once, and confirmed once no more of them are busy."""
    runner, job, until = running(bench, jobs.hold_thread, threads=2)
    runner.say(wire.Slots(0))
    late = jobs.multiply.enqueue(2, 2)
    bench.wait_state(jobs.add.enqueue(1, 1).id, State.COMPLETED)
    assert not [one for one in runner.heard if isinstance(one, wire.Yielded)]
    until.touch()
    runner.wait_for(wire.Yielded, lambda said: said.threads == 0)
    assert bench.record(job).state in {State.COMPLETED, State.RUNNING}
    assert bench.record(late).state is State.QUEUED
    runner.say(wire.Slots(2))
    assert bench.wait_result(late.id) == 4


def test_stop_signals_do_nothing(bench: RunnerBench) -> None:
    """SIGTERM, SIGINT and SIGHUP reach a whole group; the runner stops by word alone."""
    runner, job, until = running(bench, jobs.hold)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        runner.signal(number)
    assert bench.wait_result(jobs.add.enqueue(1, 1).id) == 2
    until.touch()
    assert bench.wait_result(job.id) == "held"


def test_stacks_are_written_while_the_loop_is_blocked(bench: RunnerBench) -> None:
    """The stack of a blocked runner names the blocking function, its beats name the lag."""
    runner, _, until = running(bench, jobs.block)
    beat = runner.wait_beat(lambda beat: beat.loop_lag_ms > 500)
    assert beat.running == 1
    runner.signal(wire.STACK_SIGNAL)
    eventually(
        lambda: "in block" in runner.stacks(), within_s=30, what="a stack", state=runner.stacks
    )
    until.touch()


def test_it_ends_with_its_supervisor(bench: RunnerBench) -> None:
    """End of file on the channel ends the runner at once, whatever it runs."""
    runner, job, _ = running(bench, jobs.block)
    # The loop is blocked by the job: the beat finds the channel closed.
    runner.hang_up()
    assert runner.process.wait(30) == 69
    assert bench.record(job).state is State.RUNNING


def test_a_burst_waits_for_what_is_due_soon(bench: RunnerBench) -> None:
    """A burst ends with the jobs, retries due soon included; what is due later stays."""
    failing, soon = jobs.fail.enqueue(1), jobs.add.using(delay=0.3).enqueue(1, 1)
    later = jobs.add.using(delay="1h").enqueue(1, 1)
    runner = bench.started(burst=True)
    assert runner.wait_exit() == 0
    assert [bench.record(job).state for job in (failing, soon, later)] == [
        State.COMPLETED,
        State.COMPLETED,
        State.SCHEDULED,
    ]
