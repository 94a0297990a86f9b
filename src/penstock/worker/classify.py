"""From what user code raised to an outcome. Facts only; what follows is decided in `core.decision`.

Cases, first match wins:

1. the hard limit had passed: timed out, whatever was raised;
2. the interruption that was asked for came through: timed out, cancelled or interrupted;
3. a signal: Retry, Snooze, Discard;
4. the worker stops: interrupted, whatever else was raised on the way out;
5. `discard_on`: discarded; MemoryError, or what libraries raise for want of a GPU's memory: out of
   memory, whatever else is told about exceptions;
   not in `retry_on`: failed for good; else failed.

An exception group stands for what it holds: it is a signal, or discarded, if all its leaves are; it
is retryable if one of its leaves is. KeyboardInterrupt and SystemExit are failures like others: one
job must not end the process that it shares with its neighbours.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from typing import Protocol

from penstock.core import outcome as o
from penstock.core.job import StoredError
from penstock.core.memory import COLD_BYTES
from penstock.core.outcome import Outcome
from penstock.core.units import duration_ms
from penstock.errors import BadSetting
from penstock.executors.stop import Stop
from penstock.signals import CancelRequested, Discard, Retry, Snooze, SoftTimeLimit
from penstock.worker.error_text import stored_error
from penstock.worker.gpu_memory import is_gpu_out_of_memory


class Verdicts(Protocol):
    """What a task says about exceptions."""

    @property
    def retry_on(self) -> tuple[type[BaseException], ...]:
        """Exceptions that are tried again; empty: all."""
        ...

    @property
    def discard_on(self) -> tuple[type[BaseException], ...]:
        """Exceptions that end the job cancelled."""
        ...


def classify(error: BaseException, task: Verdicts, stop: Stop) -> Outcome:
    """Return the outcome of an attempt that raised `error`.

    Args:
        error: what came out of the task or its middleware.
        task: what the task says about exceptions.
        stop: the strongest interruption that was asked for.
    """
    if stop is Stop.HARD:
        return o.TimedOut(_error(error, "timed_out", "the hard time limit passed"))
    leaves = list(_leaves(error))
    return (
        _interruption(error, leaves, stop)
        or _signal(error, leaves)
        or (o.Interrupted(_stopped()) if stop is Stop.DRAIN else None)
        or _failure(error, leaves, task)
    )


def timed_out() -> Outcome:
    """Return the outcome of an attempt that returned after its hard limit had passed."""
    return o.TimedOut(StoredError("timed_out", "the hard time limit passed before it returned"))


def _interruption(error: BaseException, leaves: list[BaseException], stop: Stop) -> Outcome | None:
    if stop is Stop.NONE or not all(
        isinstance(leaf, SoftTimeLimit | CancelRequested | CancelledError) for leaf in leaves
    ):
        # A SoftTimeLimit that nobody asked for was raised by the task itself: the same thing.
        return o.TimedOut(stored_error(error)) if _all(leaves, SoftTimeLimit) else None
    if stop is Stop.CANCEL:
        return o.CancelledByRequest(StoredError("cancelled", "its cancel was requested"))
    if stop is Stop.DRAIN:
        return o.Interrupted(_stopped())
    return o.TimedOut(stored_error(error))


def _signal(error: BaseException, leaves: list[BaseException]) -> Outcome | None:
    if not _all(leaves, Retry | Snooze | Discard):
        return None
    signal = leaves[0]
    text = stored_error(error)
    try:
        if isinstance(signal, Retry):
            after = signal.after
            after_ms = None if after is None else duration_ms(after, name="Retry(after=...)")
            return o.RetryAsked(text, after_ms)
        if isinstance(signal, Snooze):
            return o.SnoozeAsked(duration_ms(signal.delay, name="Snooze(delay)"), text)
    except BadSetting as flaw:
        return o.Failed(stored_error(flaw))
    return o.Discarded(text)


def _failure(error: BaseException, leaves: list[BaseException], task: Verdicts) -> Outcome:
    text = stored_error(error)
    if task.discard_on and all(isinstance(leaf, task.discard_on) for leaf in leaves):
        return o.Discarded(text)
    # CuPy's is a MemoryError too: the GPU's first.
    if all(is_gpu_out_of_memory(leaf) for leaf in leaves):
        # What was set aside for it a child's supervisor fills in; elsewhere nothing was.
        return o.OutOfMemory(text, 0, of_gpu=True)
    if _all(leaves, MemoryError):
        # As above; in a runner nobody knows what it takes.
        return o.OutOfMemory(text, COLD_BYTES)
    retryable = not task.retry_on or any(isinstance(one, task.retry_on) for one in (error, *leaves))
    return o.Failed(text, retryable)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what an exception group holds, at any depth; any other exception yields itself."""
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(one.exceptions))
        else:
            yield one


def _all(leaves: list[BaseException], kinds: type | object) -> bool:
    return all(isinstance(leaf, kinds) for leaf in leaves)  # type: ignore[arg-type]


def _error(error: BaseException, kind: str, message: str) -> StoredError:
    return StoredError(kind, message, stored_error(error).traceback)


def _stopped() -> StoredError:
    return StoredError("interrupted", "the worker stopped before the job ended")
