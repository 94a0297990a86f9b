"""A real child, driven over the wire: what it runs, what it may, and how it can be interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core import outcome as o
from penstock.worker import asks, wire
from tests.support import runner_app as jobs
from tests.support.child_driver import ChildDriver
from tests.support.eventually import eventually
from tests.support.wire_driver import SOON_S


@pytest.fixture
def child(tmp_path: Path) -> Iterator[ChildDriver]:
    """A child that is ready."""
    with ChildDriver(tmp_path) as made:
        made.prepare()
        yield made


def value_of(outcome: o.Outcome) -> Any:
    """Return the result of an attempt that succeeded."""
    assert isinstance(outcome, o.Succeeded), outcome
    return None if outcome.result is None else msgspec.json.decode(outcome.result)


def wait_lines(path: Path, child: ChildDriver) -> None:
    """Return once a job has written to the file."""
    eventually(path.exists, within_s=SOON_S, what=f"{path}", state=child.report)


def test_it_runs_both_kinds_one_after_the_other(child: ChildDriver) -> None:
    """Coroutines and plain functions give their results; one child runs many."""
    for number in range(5):
        assert (
            value_of(child.outcome(child.run(jobs.add.name, {"a": number, "b": 1}))) == number + 1
        )
        product = child.outcome(child.run(jobs.multiply.name, {"a": number, "b": 2}))
        assert value_of(product) == number * 2


def test_plain_functions_run_in_the_main_thread(child: ChildDriver) -> None:
    """A plain function has the main thread, files only its owner reads, and no channel's name."""
    seen = value_of(child.outcome(child.run(jobs.look.name, {})))
    assert seen["is_main"] is True
    assert seen["umask"] == 0o077
    assert "PENSTOCK_URL" not in seen["penstock"]


def test_plain_functions_may_run_a_loop_of_their_own(child: ChildDriver) -> None:
    """asyncio.run works in a plain function."""
    assert value_of(child.outcome(child.run(jobs.own_loop.name, {}))) == 3


def test_a_soft_limit_interrupts_a_sleeping_call(child: ChildDriver, tmp_path: Path) -> None:
    """In the main thread SoftTimeLimit is raised even out of a sleeping system call."""
    job = child.run(jobs.nap.name, {"began": str(tmp_path / "b"), "seconds": 600}, soft_ms=50)
    outcome = child.outcome(job)
    assert isinstance(outcome, o.TimedOut)
    assert outcome.error.kind == "SoftTimeLimit"
    assert value_of(child.outcome(child.run(jobs.multiply.name, {"a": 2, "b": 2}))) == 4


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        (wire.CancelRun(), o.CancelledByRequest),
        (wire.CancelRun(drain=True), o.Interrupted),
    ],
    ids=["cancel", "drain"],
)
@pytest.mark.parametrize("task", [jobs.nap, jobs.hold], ids=["plain", "coroutine"])
def test_a_cancel_interrupts(
    child: ChildDriver, tmp_path: Path, task: Any, order: wire.CancelRun, kind: type[o.Outcome]
) -> None:
    """CancelRun ends either kind of task, and says for whom."""
    began = tmp_path / "began"
    last = {"seconds": 600} if task is jobs.nap else {"until": str(tmp_path / "never")}
    job = child.run(task.name, {"began": str(began), **last})
    wait_lines(began, child)
    child.say(order)
    assert isinstance(child.outcome(job), kind)


def test_a_cancel_right_behind_its_job_is_not_lost(child: ChildDriver, tmp_path: Path) -> None:
    """A cancel that arrives together with the job keeps it from running."""
    for number in range(10):
        began = tmp_path / f"began{number}"
        job = child.run(jobs.nap.name, {"began": str(began), "seconds": 600})
        child.say(wire.CancelRun())
        assert isinstance(child.outcome(job), o.CancelledByRequest)


def test_a_coroutine_may_cancel_its_own_task(child: ChildDriver) -> None:
    """A job that cancels the task it runs in, and returns, has succeeded; the child goes on."""
    for _ in range(2):
        assert value_of(child.outcome(child.run(jobs.cancel_self.name, {}))) == "returned"


def test_a_late_cancel_hits_nobody(child: ChildDriver) -> None:
    """A cancel that comes between two jobs does nothing to the next."""
    for number in range(20):
        job = child.run(jobs.multiply.name, {"a": number, "b": 1})
        child.outcome(job)
        child.say(wire.CancelRun())
        assert value_of(child.outcome(child.run(jobs.multiply.name, {"a": 1, "b": 1}))) == 1


@pytest.mark.parametrize(
    "task", [jobs.enqueue_more, jobs.enqueue_more_thread], ids=["coroutine", "plain"]
)
def test_it_enqueues_over_the_pipe(child: ChildDriver, task: Any) -> None:
    """Jobs enqueue jobs, plainly and awaited, with tags that the supervisor gave."""
    ids = value_of(child.outcome(child.run(task.name, {"count": 3})))
    assert [job.id for job in child.asked] == ids
    assert {job.id[16:20] for job in child.asked} == {"0007"}
    registers = [one for one in child.heard if isinstance(one, asks.Ask) and one.queues]
    assert len(registers) == 1


def test_known_tags_are_not_asked_for(tmp_path: Path) -> None:
    """Tags told at the start spare a question."""
    with ChildDriver(tmp_path) as child:
        child.prepare(queue_tags={"default": 3})
        job = child.run(jobs.enqueue_more_thread.name, {"count": 2})
        value_of(child.outcome(job))
        assert {one.id[16:20] for one in child.asked} == {"0003"}
        assert not [one for one in child.heard if isinstance(one, asks.Ask) and one.queues]


def test_a_refused_enqueue_is_an_error_in_the_task(tmp_path: Path) -> None:
    """What the broker refuses is raised in the task by its class."""
    with ChildDriver(tmp_path) as child:
        child.prepare(queue_tags={"default": 3})
        job = child.run(jobs.enqueue_more_thread.name, {"count": 1})
        ask = child.wait_for(asks.Ask)
        child.refuse(ask, asks.AskRefusal("Unavailable", "the broker is away"))
        outcome = child.wait_for(wire.Finished, lambda said: said.id == job).outcome
        assert isinstance(outcome, o.Failed)
        assert (outcome.error.kind, outcome.error.message) == ("Unavailable", "the broker is away")


def test_notes_come_before_the_end(child: ChildDriver) -> None:
    """Progress, log lines and checkpoints are told before the attempt's end."""
    job = child.run(jobs.report.name, {"value": 5, "line": "x", "checkpoint": [1]})
    assert value_of(child.outcome(job)) is None
    noted = [one for one in child.heard if isinstance(one, wire.Noted)]
    assert all(one.id == job for one in noted)
    checkpoints = [one.checkpoint for one in noted if isinstance(one.checkpoint, msgspec.Raw)]
    assert [bytes(one) for one in checkpoints] == [b"[1]"]
    values = [one.progress for one in noted if isinstance(one.progress, msgspec.Raw)]
    assert bytes(values[-1]) == b"5"
    assert [line for one in noted for line in one.log] == ["x\\udc80"]
    assert isinstance(child.heard[-1], wire.Finished)


def test_progress_is_thinned_out(child: ChildDriver, tmp_path: Path) -> None:
    """Two thousand values are a handful of messages, and the last one comes."""
    kept, until = tmp_path / "kept", tmp_path / "until"
    job = child.run(jobs.report_thread.name, {"began": str(kept), "until": str(until)})
    child.wait_for(wire.Noted, lambda said: isinstance(said.checkpoint, msgspec.Raw))
    wait_lines(kept, child)
    until.touch()
    child.outcome(job)
    noted = [one.progress for one in child.heard if isinstance(one, wire.Noted)]
    values = [one for one in noted if isinstance(one, msgspec.Raw)]
    assert bytes(values[-1]) == b"1999"
    assert len(values) < 200


@pytest.mark.parametrize("kind", ["exit", "interrupt"])
def test_a_job_cannot_end_it_politely(child: ChildDriver, kind: str) -> None:
    """sys.exit() and KeyboardInterrupt fail the job; the child takes the next one."""
    outcome = child.outcome(child.run(jobs.exits.name, {"kind": kind}))
    assert isinstance(outcome, o.Failed)
    assert value_of(child.outcome(child.run(jobs.multiply.name, {"a": 2, "b": 3}))) == 6


@pytest.mark.parametrize("kind", ["_exit", "kill", "close"])
def test_a_job_can_kill_it(child: ChildDriver, kind: str) -> None:
    """os._exit, a signal, and the loss of all its files end the child without a word."""
    child.run(jobs.exits.name, {"kind": kind})
    assert child.wait_exit() != 0
    assert not [one for one in child.heard if isinstance(one, wire.Finished)]


def test_a_large_result_is_refused_inside(tmp_path: Path) -> None:
    """A result over the cap never crosses the pipe."""
    with ChildDriver(tmp_path) as child:
        child.prepare(result_bytes_max=10)
        assert isinstance(child.outcome(child.run(jobs.look.name, {})), o.ResultUnwritable)


def test_an_unknown_task_is_told(child: ChildDriver) -> None:
    """A task that this app has not got is an outcome like others."""
    assert isinstance(child.outcome(child.run("nobody.knows", {})), o.TaskUnknown)


def test_hooks_run_and_retire_ends_it(tmp_path: Path) -> None:
    """Start hooks run before Ready, stop hooks at Retire; then the child ends by itself."""
    trace = tmp_path / "trace"
    with ChildDriver(tmp_path, {"RUNNER_TRACE": str(trace)}) as child:
        child.prepare()
        assert trace.read_text().split() == ["start"]
        child.say(wire.Retire())
        assert child.wait_exit() == 0, child.report()
        assert trace.read_text().split() == ["start", "stop"]


def test_a_failing_hook_is_told(tmp_path: Path) -> None:
    """Without its start hooks a child says why and ends."""
    with ChildDriver(tmp_path, {"RUNNER_HOOK_FAILS": "1"}) as child:
        child.wait_for(wire.Hello)
        child.say(wire.Prepare(worker="driver", result_bytes_max=1_000))
        told = child.wait_for(wire.Hello, lambda said: said.error is not None)
        assert told.error is not None
        assert told.error.message == "no model here"
        assert child.wait_exit() == 70


def test_an_app_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    """The first word says why there will be no other."""
    with ChildDriver(tmp_path, app="tests.support.broken_app:app") as child:
        told = child.wait_for(wire.Hello)
        assert told.error is not None
        assert told.error.kind == "ZeroDivisionError"
        assert child.wait_exit() == 70


def test_it_opens_no_broker(tmp_path: Path) -> None:
    """A child has no way to a broker but its supervisor."""
    url = f"sqlite:///{tmp_path / 'penstock.db'}"
    with ChildDriver(tmp_path, {"PENSTOCK_URL": url}) as child:
        child.prepare(queue_tags={"default": 3})
        value_of(child.outcome(child.run(jobs.enqueue_more_thread.name, {"count": 1})))
        assert not (tmp_path / "penstock.db").exists()


def test_it_ends_with_its_supervisor(child: ChildDriver, tmp_path: Path) -> None:
    """End of file on the channel ends the child at once, whatever it runs."""
    began = tmp_path / "began"
    child.run(jobs.nap.name, {"began": str(began), "seconds": 600})
    wait_lines(began, child)
    child.hang_up()
    assert child.process.wait(SOON_S) == 69
