"""run_attempt: what is kept of an exception, whatever it is."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import weakref
from typing import NoReturn

import msgspec
import pytest

from penstock import App, Discard, Retry, Snooze
from penstock.broker.requests import ERROR_BYTES_MAX
from penstock.core import outcome as o
from penstock.core.outcome import Outcome
from penstock.worker.error_text import MESSAGE_BYTES_MAX
from tests.support.attempt_bench import Bench


@pytest.fixture
def bench() -> Bench:
    """An app without tasks."""
    return Bench(App("memory://"))


class Hostile(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("no text")


def test_an_exception_is_a_failure_with_its_traceback(bench: Bench) -> None:
    """An error is stored with class, text, and a traceback that begins in the task."""
    outcome = bench.raising(KeyError("key"))
    assert isinstance(outcome, o.Failed)
    assert outcome.retryable
    assert (outcome.error.kind, outcome.error.message) == ("KeyError", "'key'")
    first = (outcome.error.traceback or "").splitlines()[1]
    assert "attempt_bench.py" in first, "frames of the library stand before the task's"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
@pytest.mark.parametrize("kind", ["coroutine", "thread"])
def test_base_exceptions_are_failures(bench: Bench, error: type[BaseException], kind: str) -> None:
    """sys.exit() and the like fail the job, and end nothing else."""

    async def coroutine() -> NoReturn:
        raise error

    def thread() -> NoReturn:
        raise error

    outcome = bench.outcome_of({"coroutine": coroutine, "thread": thread}[kind])
    assert isinstance(outcome, o.Failed), outcome
    assert outcome.error.kind == error.__name__


def test_stop_iteration_is_a_failure(bench: Bench) -> None:
    """A plain function that raises StopIteration fails as a coroutine would."""

    def body() -> NoReturn:
        raise StopIteration(3)

    outcome = bench.outcome_of(body)
    assert isinstance(outcome, o.Failed)
    assert outcome.error.kind == "RuntimeError"


def test_a_hostile_exception_is_stored(bench: Bench) -> None:
    """An exception whose __str__ raises is stored with words about that."""
    outcome = bench.raising(Hostile())
    assert isinstance(outcome, o.Failed)
    assert "ValueError" in outcome.error.message


def test_a_huge_exception_is_capped(bench: Bench) -> None:
    """64 MiB of exception text are stored as head and tail within the caps."""
    outcome = bench.raising(lambda: ValueError("head" + "x" * (64 * 2**20) + "tail"))
    assert isinstance(outcome, o.Failed)
    message, trace = outcome.error.message, outcome.error.traceback or ""
    assert len(message.encode()) <= MESSAGE_BYTES_MAX
    assert len(trace.encode()) <= ERROR_BYTES_MAX
    assert message.startswith("head")
    assert message.endswith("tail")
    assert trace.startswith("Traceback")


def test_lone_surrogates_are_escaped(bench: Bench) -> None:
    """Text that UTF-8 cannot hold is stored as escapes."""
    outcome = bench.raising(ValueError("a\udc80b"))
    assert isinstance(outcome, o.Failed)
    assert outcome.error.message == "a\\udc80b"
    assert msgspec.json.encode(outcome)


def test_an_exception_that_cannot_be_copied_is_stored(bench: Bench) -> None:
    """An exception that no pickle could carry is stored like any other."""

    class Local(Exception):
        def __init__(self, needed: int, also: object) -> None:
            super().__init__(f"{needed}")
            self.lock = also

        def __reduce__(self) -> NoReturn:
            raise TypeError("cannot be copied")

    outcome = bench.raising(lambda: Local(1, object()))
    assert isinstance(outcome, o.Failed)
    assert outcome.error.kind == "Local"


def test_a_deep_recursion_is_a_failure(bench: Bench) -> None:
    """Endless recursion fails the attempt with a readable traceback."""

    def recurse(n: int) -> int:
        return recurse(n + 1)

    async def body() -> int:
        return recurse(0)

    outcome = bench.outcome_of(body)
    assert isinstance(outcome, o.Failed)
    assert "repeated" in (outcome.error.traceback or "")


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        (ExceptionGroup("g", [ValueError(1)]), o.Failed),
        (ExceptionGroup("g", [Retry(after=1), ExceptionGroup("h", [Retry()])]), o.RetryAsked),
        (ExceptionGroup("g", [Snooze(1)]), o.SnoozeAsked),
        (ExceptionGroup("g", [Discard("x"), ValueError(1)]), o.Failed),
        (ExceptionGroup("g", [FileNotFoundError(1), PermissionError(2)]), o.Discarded),
        (BaseExceptionGroup("g", [SystemExit(1)]), o.Failed),
    ],
    ids=str,
)
def test_groups_stand_for_what_they_hold(
    bench: Bench, group: BaseException, kind: type[Outcome]
) -> None:
    """A group of signals is a signal, one of discarded exceptions is discarded, else it fails."""
    assert isinstance(bench.raising(group, discard_on=OSError), kind)


def test_a_group_is_retryable_if_a_leaf_is(bench: Bench) -> None:
    """With retry_on one matching leaf is enough."""
    group = ExceptionGroup("g", [ValueError(1), TimeoutError(2)])
    outcome = bench.raising(group, retry_on=TimeoutError)
    assert isinstance(outcome, o.Failed)
    assert outcome.retryable


def test_the_loop_is_not_left_with_references(bench: Bench) -> None:
    """A failed attempt keeps no frame of user code alive."""

    class Large:
        pass

    kept: list[weakref.ref[Large]] = []

    async def body() -> NoReturn:
        large = Large()
        kept.append(weakref.ref(large))
        raise ValueError(1)

    bench.outcome_of(body)
    gc.collect()
    assert kept[0]() is None


def test_tracebacks_are_those_of_python(bench: Bench) -> None:
    """The stored traceback reads as the interpreter would print it."""
    outcome = bench.raising(ZeroDivisionError("by zero"))
    assert isinstance(outcome, o.Failed)
    last = traceback.format_exception_only(ZeroDivisionError("by zero"))[-1]
    assert (outcome.error.traceback or "").endswith(last)
    assert sys.exc_info() == (None, None, None)
