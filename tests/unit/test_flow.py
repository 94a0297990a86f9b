"""Flows of the client: what they ask for, step by step, without any broker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.broker.requests import JobStatus
from penstock.client import flow
from penstock.core.ids import JobId
from penstock.core.job import Reason, StoredError
from penstock.core.lifecycle import FINAL, State
from penstock.errors import (
    JobCancelled,
    JobDead,
    JobExpired,
    OutcomeUnknown,
    ResultGone,
    ResultTimeout,
    SerializationError,
)
from penstock.serializers.json import JsonReader

ID = JobId("0" * 32)


class Clock:
    """Seconds that pass only when a flow pauses."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now_s


def status(state: State, **facts: Any) -> JobStatus:
    """Return the status of the job."""
    return JobStatus(id=ID, state=state, **facts)


def pauses(waiting: flow.Flow[Any], clock: Clock, looks: int) -> list[float]:
    """Answer `looks` looks at a queued job and return the pauses between them."""
    taken: list[float] = []
    step = next(waiting)
    for _ in range(looks):
        assert step == flow.Peek(ID)
        pause = waiting.send(status(State.QUEUED))
        assert isinstance(pause, flow.Pause)
        taken.append(pause.seconds)
        clock.now_s += pause.seconds
        step = waiting.send(None)
    return taken


def test_looks_are_close_at_first_and_bounded_later() -> None:
    """The pause starts at 1 ms, grows, and stays at 50 ms."""
    clock = Clock()
    taken = pauses(flow.wait(ID, timeout_s=None, now_s=clock), clock, 60)
    assert taken[0] == flow.PAUSE_MIN_S == 0.001
    assert taken == sorted(taken)
    assert taken[-1] == flow.PAUSE_MAX_S == 0.05
    assert sum(1 for pause in taken if pause < flow.PAUSE_MAX_S) < 30


def test_last_look_comes_at_the_deadline() -> None:
    """The pauses end exactly at the timeout; the job is looked at once more, then told late."""
    clock = Clock()
    waiting = flow.wait(ID, timeout_s=0.0025, now_s=clock)
    taken = pauses(waiting, clock, 3)
    assert sum(taken) == pytest.approx(0.0025)
    with pytest.raises(ResultTimeout, match=r"is running after 0\.0025 s of waiting; it goes on"):
        waiting.send(status(State.RUNNING))


def test_timeout_of_nothing_looks_once() -> None:
    """timeout=0 gives the result of a final job, and an error for any other."""
    clock = Clock()
    waiting = flow.wait(ID, timeout_s=0, now_s=clock)
    next(waiting)
    with pytest.raises(StopIteration):
        waiting.send(status(State.COMPLETED))
    waiting = flow.wait(ID, timeout_s=0, now_s=clock)
    next(waiting)
    with pytest.raises(ResultTimeout):
        waiting.send(status(State.QUEUED))


def test_every_final_state_ends_the_wait() -> None:
    """A wait ends in each final state and in no other."""
    for state in State:
        waiting = flow.wait(ID, timeout_s=None, now_s=Clock())
        next(waiting)
        if state in FINAL:
            with pytest.raises(StopIteration):
                waiting.send(status(state))
        else:
            assert isinstance(waiting.send(status(state)), flow.Pause)


def read(text: msgspec.Raw) -> Any:
    """Read a result as an int."""
    return JsonReader(int).read(text, "result")


def test_result_of_a_completed_job_is_read() -> None:
    """JSON is read as its type; no stored result means None."""
    raw = msgspec.Raw(b"7")
    assert flow.result_of(status(State.COMPLETED, result=raw), read) == 7
    assert flow.result_of(status(State.COMPLETED), read) is None
    with pytest.raises(SerializationError):
        flow.result_of(status(State.COMPLETED, result=msgspec.Raw(b'"7"')), read)


def test_result_of_a_dead_job_carries_its_error() -> None:
    """JobDead holds id, reason and the stored traceback; the message shows the exception."""
    error = StoredError("ValueError", "bad", traceback="Traceback ...\nValueError: bad")
    dead = status(State.DEAD, reason=Reason.RETRIES_EXHAUSTED, error=error)
    with pytest.raises(JobDead, match=r"dead \(retries_exhausted\): ValueError: bad$") as caught:
        flow.result_of(dead, read)
    assert (caught.value.job_id, caught.value.reason) == (ID, "retries_exhausted")
    assert caught.value.error == error.traceback
    with pytest.raises(JobDead) as caught:
        flow.result_of(status(State.DEAD, reason=Reason.POISON), read)
    assert caught.value.error is None


def test_other_ends_have_errors_of_their_own() -> None:
    """Cancelled, expired and dropped results are told apart."""
    with pytest.raises(JobCancelled, match="parent_failed") as caught:
        flow.result_of(status(State.CANCELLED, reason=Reason.PARENT_FAILED), read)
    assert caught.value.reason == "parent_failed"
    with pytest.raises(JobExpired):
        flow.result_of(status(State.EXPIRED, reason=Reason.DEADLINE), read)
    with pytest.raises(ResultGone):
        flow.result_of(status(State.COMPLETED, result_dropped=True), read)


def test_unknown_outcome_is_not_asked_for_longer_than_its_window() -> None:
    """A broker that answers each try late is asked no second time: a producer learns in time."""
    clock = Clock()
    sending = flow.send([], None, clock)
    next(sending)
    clock.now_s += flow.RETRY_WINDOW_S + 0.1
    with pytest.raises(OutcomeUnknown, match="lost"):
        sending.throw(OutcomeUnknown("lost"))
