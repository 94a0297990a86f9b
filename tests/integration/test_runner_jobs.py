"""A real runner over a real file: jobs are claimed, run and settled, each in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.job import Reason
from penstock.core.lifecycle import State
from penstock.worker import wire
from tests.support import runner_app as jobs
from tests.support.runner_bench import RunnerBench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RunnerBench]:
    """A broker file, and the tasks of the tests' app on it."""
    with RunnerBench(tmp_path) as made:
        yield made


def test_it_says_what_the_app_holds(bench: RunnerBench) -> None:
    """The first word of a runner is its pid and the app as data."""
    runner = bench.spawn()
    hello = runner.wait_for(wire.Hello)
    assert hello.pid == runner.process.pid
    assert hello.manifest is not None
    assert "tests.support.runner_app.add" in {task.name for task in hello.manifest.tasks}


@pytest.mark.parametrize(
    ("app", "kind", "word"),
    [
        ("tests.support.no_such_app:app", "BadSetting", "no_such_app"),
        ("tests.support.runner_app:nothing", "BadSetting", "nothing"),
        ("tests.support.runner_app", "BadSetting", "module:attribute"),
        ("tests.support.broken_app:app", "ZeroDivisionError", "division"),
        ("tests.support.exiting_app:app", "SystemExit", "3"),
    ],
)
def test_it_says_why_the_app_cannot_be_imported(
    bench: RunnerBench, app: str, kind: str, word: str
) -> None:
    """An app that cannot be imported is told as an error with a traceback, and the runner ends."""
    runner = bench.spawn(app)
    hello = runner.wait_for(wire.Hello)
    assert hello.manifest is None
    assert hello.error is not None
    assert hello.error.kind == kind
    assert word in hello.error.message
    assert runner.wait_exit() == 70


def test_a_failing_start_hook_ends_it(bench: RunnerBench) -> None:
    """Without its start hooks a runner takes no job."""
    job = jobs.add.enqueue(1, 2)
    runner = bench.spawn(env={"RUNNER_HOOK_FAILS": "1"})
    runner.wait_for(wire.Hello)
    with pytest.raises(AssertionError, match="Ready"):
        runner.start()
    assert runner.wait_exit() == 70
    assert "no model here" in runner.log()
    assert bench.record(job).state is State.QUEUED


@pytest.mark.parametrize("task", [jobs.add, jobs.multiply], ids=["coroutine", "thread"])
def test_results_are_kept(bench: RunnerBench, task: object) -> None:
    """Many jobs of either kind are completed with their results, by this process."""
    made = bench.app.enqueue_many([task.call(n, 3) for n in range(300)])  # type: ignore[attr-defined]
    runner = bench.started(burst=True)
    assert runner.wait_exit() == 0
    runner.wait_for(wire.Drained)
    expected = [n + 3 if task is jobs.add else n * 3 for n in range(300)]
    assert [job.result(timeout=0) for job in made] == expected
    attempt = bench.record(made[0]).attempts[-1]
    assert (attempt.pid, attempt.outcome) == (runner.process.pid, "succeeded")


def test_hooks_run_once_around_all_jobs(bench: RunnerBench) -> None:
    """Start hooks run before the first job, stop hooks after the last."""
    trace = bench.path("trace")
    runner = bench.started(env={"RUNNER_TRACE": trace}, burst=True)
    assert runner.wait_exit() == 0
    assert Path(trace).read_text().split() == ["start", "stop"]


def test_failures_are_retried_and_then_buried(bench: RunnerBench) -> None:
    """A job is run again until its retries are spent; each attempt keeps its error."""
    good, bad = jobs.fail.enqueue(2), jobs.fail.enqueue(9)
    assert bench.started(burst=True).wait_exit() == 0
    assert good.result(timeout=0) == 3
    record = bench.record(bad)
    assert (record.state, record.reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED)
    assert [one.error.message for one in record.attempts if one.error] == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
    ]


@pytest.mark.parametrize("kind", ["exit", "interrupt"])
def test_a_job_cannot_end_the_runner(bench: RunnerBench, kind: str) -> None:
    """sys.exit() in a job fails the job; its neighbours go on."""
    bad, good = jobs.exits.enqueue(kind), jobs.background_exit.enqueue()
    runner = bench.started(burst=True)
    assert runner.wait_exit() == 0, runner.report()
    assert bench.record(bad).state is State.DEAD
    assert good.result(timeout=0) == "alive"


def test_an_unknown_task_is_snoozed(bench: RunnerBench) -> None:
    """A job whose task no runner here knows waits for a deploy that does."""
    job_id = bench.enqueue_raw("nobody.knows")
    runner = bench.started()
    record = bench.wait_state(job_id, State.SCHEDULED)
    assert record.charges.unknown_task == 1
    runner.say(wire.Drain(0))
    assert runner.wait_exit() == 0


def test_an_unreadable_payload_is_buried(bench: RunnerBench) -> None:
    """Arguments that do not fit the task bury the job at once."""
    job_id = bench.enqueue_raw(jobs.add.name, b'{"a":"one"}')
    assert bench.started(burst=True).wait_exit() == 0
    record = bench.wait_state(job_id, State.DEAD)
    assert record.reason is Reason.BAD_PAYLOAD


def test_a_job_for_a_child_is_sent_where_it_belongs(bench: RunnerBench) -> None:
    """A job that waits in the wrong set, from an older version of its task, changes sets."""
    lone = bench.enqueue_raw(jobs.lone.name)
    plain = bench.enqueue_raw(jobs.multiply.name, b'{"a":2,"b":2}')
    runner = bench.started(threads=0)
    bench.wait_needs({"alone", "thread"})
    runner.say(wire.Slots(1))
    runner.wait_for(wire.Yielded, lambda said: said.threads == 1)
    assert bench.wait_result(plain) == 4
    assert bench.wait_state(lone, State.QUEUED).claim_number == 1


def test_jobs_enqueue_jobs(bench: RunnerBench) -> None:
    """A running job enqueues through the runner's own broker, in coroutines and threads."""
    first, second = jobs.enqueue_more.enqueue(3), jobs.enqueue_more_thread.enqueue(3)
    assert bench.started(burst=True).wait_exit() == 0
    made = [*first.result(timeout=0), *second.result(timeout=0)]
    assert len(made) == 7
    assert {bench.app.job(one).status() for one in made} == {State.COMPLETED}


def test_wake_ups_come_without_polling(bench: RunnerBench) -> None:
    """A sleeping runner takes a new job long before its slow poll, for both kinds of slots."""
    runner = bench.started(poll_ms=600_000)
    for _ in range(3):
        for task in (jobs.add, jobs.multiply):
            assert bench.wait_result(task.enqueue(2, 2).id) == 4
    runner.say(wire.Drain(0))
    assert runner.wait_exit() == 0


def test_due_jobs_come_without_polling(bench: RunnerBench) -> None:
    """A delayed job that an empty claim told of starts when it is due, long before the poll."""
    job = jobs.add.using(delay=1.5).enqueue(2, 2)
    bench.started(poll_ms=600_000)
    assert bench.wait_result(job.id) == 4


def test_slots_bound_what_runs(bench: RunnerBench) -> None:
    """No more coroutines and threads run than there are slots, and nothing else is claimed."""
    until, began = bench.path("until"), bench.path("began")
    both = (jobs.hold, jobs.hold_thread)
    made = [task.enqueue(began, until) for task in both for _ in range(6)]
    runner = bench.started(coroutines=3, threads=2)
    bench.wait_lines(began, 5)
    beat = runner.wait_beat(lambda beat: beat.running == 5)
    assert beat.running == 5
    counts = bench.counts()
    assert (counts.running, counts.queued) == (5, 7)
    Path(until).touch()
    for job in made:
        bench.wait_state(job.id, State.COMPLETED)


def test_busy_threads_hold_back_no_coroutine(bench: RunnerBench) -> None:
    """With every thread busy and plain jobs waiting in front, coroutines still run."""
    until, began = bench.path("until"), bench.path("began")
    for _ in range(20):
        jobs.hold_thread.enqueue(began, until)
    light = jobs.add.enqueue(1, 1)
    bench.started(threads=1)
    assert bench.wait_result(light.id) == 2
    assert bench.counts().running == 1
    Path(until).touch()


def test_log_lines_of_a_job_carry_its_fields(bench: RunnerBench) -> None:
    """What user code logs names job, task, attempt and queue, and cannot forge a line."""
    job = jobs.say.enqueue("one\nERROR two\x1b[2J")
    runner = bench.started(burst=True)
    assert runner.wait_exit() == 0
    [line] = [line for line in runner.log().splitlines() if "user: one" in line]
    assert "one\\x0aERROR two\\x1b[2J" in line
    assert f"[job={job.id} task={jobs.say.name} attempt=1 queue=default]" in line
    assert str(job.result(timeout=0)).startswith("penstock-task-")
