"""run_attempt: one line for each way in which an attempt can end."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock import App, Discard, Retry, Snooze, current_job
from penstock.context import CurrentJob
from penstock.core import outcome as o
from penstock.worker.attempt import Attempt
from tests.support.attempt_bench import Bench


@pytest.fixture
def bench() -> Bench:
    """An app without tasks."""
    return Bench(App("memory://"))


def test_a_result_is_json(bench: Bench) -> None:
    """What a coroutine returns is kept as JSON."""

    async def body() -> list[int]:
        return [1, 2]

    assert bench.outcome_of(body) == o.Succeeded(b"[1,2]")


def test_a_plain_function_runs_in_a_thread(bench: Bench) -> None:
    """A def task runs in another thread than the loop's, and its result is kept."""

    def body() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert bench.outcome_of(body) == o.Succeeded(b"false")


def test_nothing_returned_is_nothing_kept(bench: Bench) -> None:
    """A task that returns None has no result to store."""

    async def body() -> None:
        return None

    assert bench.outcome_of(body) == o.Succeeded(None)


def test_arguments_come_typed(bench: Bench) -> None:
    """The payload is read as the annotations say."""

    @bench.app.task(name="add")
    async def add(a: int, b: float = 0.5) -> float:
        return a + b

    assert bench.run(bench.claimed(add.name, b'{"a":1}')) == o.Succeeded(b"1.5")


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
def test_current_job_is_known(bench: Bench, kind: str) -> None:
    """current_job() is the running job, in coroutines and in threads."""

    async def coroutine() -> str:
        return current_job().id

    def thread() -> str:
        return current_job().id

    body = {"coroutine": coroutine, "thread": thread}[kind]
    assert bench.outcome_of(body) == o.Succeeded(b'"' + b"0" * 32 + b'"')


def test_retry_carries_its_wait(bench: Bench) -> None:
    """Retry(after=...) is an asked-for retry in milliseconds."""
    outcome = bench.raising(Retry(after="1min", reason="busy"))
    assert isinstance(outcome, o.RetryAsked)
    assert (outcome.after_ms, outcome.error.message) == (60_000, "busy")


def test_retry_without_wait_leaves_it_to_the_backoff(bench: Bench) -> None:
    """Retry() names no wait."""
    outcome = bench.raising(Retry())
    assert isinstance(outcome, o.RetryAsked)
    assert outcome.after_ms is None


def test_snooze_carries_its_delay(bench: Bench) -> None:
    """Snooze(delay) is a snooze in milliseconds."""
    outcome = bench.raising(Snooze(1.5))
    assert isinstance(outcome, o.SnoozeAsked)
    assert outcome.delay_ms == 1_500


@pytest.mark.parametrize("signal", [Retry(after="soon"), Snooze("-1s"), Snooze(float("nan"))])
def test_a_signal_with_an_unreadable_time_is_a_failure(bench: Bench, signal: Exception) -> None:
    """A signal whose duration cannot be read fails the attempt and says which value."""
    outcome = bench.raising(signal)
    assert isinstance(outcome, o.Failed)
    assert outcome.error.kind == "BadSetting"


def test_discard_ends_the_job(bench: Bench) -> None:
    """Discard is told with its reason."""
    outcome = bench.raising(Discard("gone"))
    assert isinstance(outcome, o.Discarded)
    assert outcome.error is not None
    assert outcome.error.message == "gone"


def test_discard_on_ends_the_job(bench: Bench) -> None:
    """An exception of discard_on is a discard, and so is a subclass of it."""
    assert isinstance(bench.raising(FileNotFoundError("x"), discard_on=OSError), o.Discarded)


def test_retry_on_rules_others_out(bench: Bench) -> None:
    """With retry_on only its exceptions are tried again."""
    first, second = Bench(App("memory://")), bench
    allowed = first.raising(TimeoutError("x"), retry_on=(OSError,))
    other = second.raising(ValueError("x"), retry_on=(OSError,))
    assert isinstance(allowed, o.Failed)
    assert isinstance(other, o.Failed)
    assert (allowed.retryable, other.retryable) == (True, False)


def test_an_unknown_task_is_told(bench: Bench) -> None:
    """A name that is not registered is looked up, not imported."""
    outcome = bench.run(bench.claimed("os.system"))
    assert isinstance(outcome, o.TaskUnknown)
    assert "os.system" in outcome.error.message


@pytest.mark.parametrize("payload", [b"{", b"[1]", b'{"b":1}', b'{"a":"x"}', b'{"a":1,"b":2}', b""])
def test_an_unreadable_payload_is_told(bench: Bench, payload: bytes) -> None:
    """A payload that is not JSON or does not fit the signature never reaches the task."""

    @bench.app.task(name="one")
    async def one(a: int) -> int:
        raise AssertionError(a)

    assert isinstance(bench.run(bench.claimed(one.name, payload)), o.PayloadUnreadable)


def test_a_flawed_spec_is_told(bench: Bench) -> None:
    """A job whose stored spec the broker could not read is a bad payload, whatever its task."""
    outcome = bench.run(bench.claimed("", flaw="spec is not JSON"))
    assert isinstance(outcome, o.PayloadUnreadable)
    assert outcome.error.message == "spec is not JSON"


@pytest.mark.parametrize("value", [object(), float("nan"), "\udc80", {1: {2: object()}}, {3j}])
def test_an_unwritable_result_is_told(bench: Bench, value: object) -> None:
    """What JSON cannot hold is refused as a result, after the task has run."""

    async def body() -> object:
        return value

    assert isinstance(bench.outcome_of(body), o.ResultUnwritable)


def test_a_large_result_is_told(bench: Bench) -> None:
    """A result over the cap is refused, and the error names both sizes."""

    @bench.app.task(name="big")
    async def big() -> str:
        return "x" * 99

    outcome = bench.run(bench.claimed(big.name), result_bytes_max=100)
    assert isinstance(outcome, o.ResultUnwritable)
    assert "101" in outcome.error.message
    assert "100" in outcome.error.message


def test_middleware_wraps_in_order(bench: Bench) -> None:
    """The first middleware is outermost, sees the job, and may replace the result."""
    seen: list[str] = []

    @bench.app.middleware
    async def outer(job: CurrentJob, call_next: Callable[[], Awaitable[Any]]) -> Any:
        seen.append(f"outer {job.task}")
        return {"got": await call_next()}

    @bench.app.middleware
    async def inner(job: CurrentJob, call_next: Callable[[], Awaitable[Any]]) -> Any:
        seen.append("inner")
        return await call_next()

    async def body() -> int:
        seen.append("task")
        return 1

    assert bench.outcome_of(body) == o.Succeeded(b'{"got":1}')
    assert seen == ["outer body", "inner", "task"]


def test_what_middleware_raises_counts_as_the_tasks(bench: Bench) -> None:
    """A middleware that raises fails the attempt."""

    @bench.app.middleware
    async def refuse(job: CurrentJob, call_next: Callable[[], Awaitable[Any]]) -> Any:
        raise PermissionError(job.task)

    def body() -> int:
        raise AssertionError

    outcome = bench.outcome_of(body)
    assert isinstance(outcome, o.Failed)
    assert outcome.error.kind == "PermissionError"


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
def test_an_attempt_leaves_no_cycle_of_references(bench: Bench, kind: str) -> None:
    """What an attempt held is given back when it ends, without the garbage collector."""

    async def coroutine() -> str:
        return current_job().id

    def thread() -> str:
        return current_job().id

    task = bench.app.task(name="body")({"coroutine": coroutine, "thread": thread}[kind])
    gc.collect()
    gc.disable()
    try:
        before = living()
        bench.run(bench.claimed(task.name))
        # A pool's thread lets go of its last call a moment after its end is known.
        left = eventually_none(lambda: living() - before)
    finally:
        gc.enable()
    assert not left


def eventually_none(look: Callable[[], set[int]]) -> set[int]:
    """Return what is still there after five seconds: nothing, as soon as there is nothing."""
    until = time.monotonic() + 5
    while (left := look()) and time.monotonic() < until:
        time.sleep(0.005)
    return left


def living() -> set[int]:
    """Return the addresses of all attempts and current jobs; other tests may have left some."""
    return {id(one) for one in gc.get_objects() if isinstance(one, Attempt | CurrentJob)}
