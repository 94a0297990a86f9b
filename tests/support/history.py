"""What happened, as one JSON line per event, written by every actor into one file.

Producers, jobs, faults and tests append to the same file. A line is one `write` to a descriptor
opened with O_APPEND, so the kernel orders the lines of all processes; that order and the stamps of
CLOCK_BOOTTIME, which all processes of one host share, are what the checker reasons about.
Source: the split into history, generator and checker is Jepsen's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import msgspec

#: Environment variable that tells jobs where to append.
HISTORY_ENV = "CHAOS_HISTORY"


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """What all events carry; `at_ns` is filled in by the writer if it is 0."""

    at_ns: int = 0


class Accepted(_Event, frozen=True, kw_only=True, tag="accepted"):
    """A producer was told that the broker holds the job.

    Attributes:
        digest: of the arguments, where the job has a key.
        duplicate: the answer said that nothing was written.
    """

    job: str
    key: str | None = None
    digest: str | None = None
    durability: str | None = None
    duplicate: bool = False


class EnqueueFailed(_Event, frozen=True, kw_only=True, tag="enqueue_failed"):
    """A producer was told that the broker does not hold the job, or that nobody knows."""

    job: str
    kind: Literal["definite", "unknown"]
    key: str | None = None


class Started(_Event, frozen=True, kw_only=True, tag="started"):
    """User code of an attempt began, written by itself as its first act.

    Attributes:
        attempt: claim number of the attempt.
        pid: process in which it runs.
    """

    job: str
    attempt: int
    pid: int


class SideEffect(_Event, frozen=True, kw_only=True, tag="side_effect"):
    """User code did what it is for; nothing takes this line back."""

    job: str
    attempt: int
    pid: int


class Lived(_Event, frozen=True, kw_only=True, tag="lived"):
    """User code still runs."""

    job: str
    attempt: int
    pid: int


class Noted(_Event, frozen=True, kw_only=True, tag="noted"):
    """User code handed progress over: `{"attempt": attempt}`."""

    job: str
    attempt: int


class Ended(_Event, frozen=True, kw_only=True, tag="ended"):
    """User code of an attempt ended by itself: "returned", or the class of its exception."""

    job: str
    attempt: int
    pid: int
    how: str


class FinishReplied(_Event, frozen=True, kw_only=True, tag="finish_replied"):
    """The broker answered a settlement: in a simulation, or in a runner, whose sink writes it.

    Attributes:
        told_late: written by whoever got the answer, some time after the broker gave it: its place
            says nothing of the order. Else it was written as the broker answered.
        outcome: what the settlement says of the attempt; None: not known.
    """

    job: str
    attempt: int
    reply: Literal["ok", "lease_lost", "unknown"]
    final: bool = True
    told_late: bool = False
    outcome: str | None = None


class CancelReplied(_Event, frozen=True, kw_only=True, tag="cancel_replied"):
    """The broker answered a cancel: a word of `CancelAnswer`; "unknown": the answer was lost."""

    job: str
    answer: str


class Requeued(_Event, frozen=True, kw_only=True, tag="requeued"):
    """An operator gave a final job a new budget."""

    job: str


class Forgotten(_Event, frozen=True, kw_only=True, tag="forgotten"):
    """Retention or an operator took a final job away; the test saw its last state."""

    job: str
    state: str


class Fault(_Event, frozen=True, kw_only=True, tag="fault"):
    """The test did harm, written just before it does.

    Attributes:
        kind: "sigkill", "sigstop", "drain", "outage", ...
        pids: processes that are hit, children included: attempts in them may be lost. Empty for
            faults that excuse no lost attempt, such as an outage of the broker.
    """

    kind: str
    pids: tuple[int, ...] = ()


Event = (
    Accepted
    | EnqueueFailed
    | Started
    | SideEffect
    | Lived
    | Noted
    | Ended
    | FinishReplied
    | CancelReplied
    | Requeued
    | Forgotten
    | Fault
)
E = TypeVar("E", bound=_Event)


def boot_ns() -> int:
    """Return CLOCK_BOOTTIME in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class History:
    """The writing end. Safe to use from many threads and processes, each with its own instance."""

    def __init__(self, path: Path, *, clock_ns: Callable[[], int] = boot_ns) -> None:
        """Open `path` for appending; `clock_ns` is replaced by simulations."""
        self.path = path
        self._clock_ns = clock_ns
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def append(self, event: _Event) -> None:
        """Write one event as one line in one system call."""
        if event.at_ns == 0:
            event = msgspec.structs.replace(event, at_ns=self._clock_ns())
        line = msgspec.json.encode(event) + b"\n"
        if os.write(self._fd, line) != len(line):
            raise OSError(f"the history {self.path} took only a part of a line: is the disk full?")

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def read_history(path: Path) -> list[Event]:
    """Return all whole lines of `path`, in the order in which the kernel took them.

    A last line without an end is a writer killed in the middle of its system call; it is left out.
    """
    decoder = msgspec.json.Decoder(Event)
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    return [decoder.decode(line) for line in lines]


def of_type(kind: type[E], events: Iterable[_Event]) -> list[E]:
    """Return the events of one type, in order."""
    return [event for event in events if isinstance(event, kind)]
