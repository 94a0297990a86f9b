"""Draws job ids for one client, in any thread and in any process forked from this one."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from penstock.core.ids import JobId, JobIdSource

T = TypeVar("T")

#: Bits of chance in an id (`core.ids`).
_RANDOM_BITS: Final = 48


class PerProcess(Generic[T]):
    """A value that each process makes for itself: a lock or a source of chance must not be forked.

    Args:
        make: makes the value at its first use in a process.
    """

    __slots__ = ("_by_pid", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_pid: dict[int, T] = {}

    def value(self) -> T:
        """Return this process's value."""
        pid = os.getpid()
        found = self._by_pid.get(pid)
        if found is None:
            # Race: two threads may both make one; setdefault keeps a single winner.
            found = self._by_pid.setdefault(pid, self._make())
        return found


class _Draw:
    """What one process draws ids from."""

    __slots__ = ("ids", "lock", "random_bits")

    def __init__(self) -> None:
        self.ids = JobIdSource()
        self.lock = threading.Lock()
        # Seeded by the system; ids must differ between processes, not be hard to guess.
        self.random_bits = random.Random().getrandbits


class JobIds:
    """A source of job ids; safe to use from many threads, and after a fork in each process."""

    __slots__ = ("_draw",)

    def __init__(self) -> None:
        self._draw = PerProcess(_Draw)

    def draw_one(self, tag: int) -> JobId:
        """Return an id with this queue tag. Cost: about 1 us."""
        own = self._draw.value()
        now_ms = time.time_ns() // 1_000_000
        with own.lock:
            return own.ids.draw(now_ms, tag, own.random_bits(_RANDOM_BITS))

    def draw(self, tags: Sequence[int]) -> list[JobId]:
        """Return one id per queue tag, rising in order. Cost: about 1 us each."""
        own = self._draw.value()
        now_ms = time.time_ns() // 1_000_000
        with own.lock:
            draw, random_bits = own.ids.draw, own.random_bits
            return [draw(now_ms, tag, random_bits(_RANDOM_BITS)) for tag in tags]
