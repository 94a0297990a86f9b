"""Queues whose jobs are larger than every worker of a profile that serves them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.config.queues import QueueTable, Route
from penstock.core.units import size_bytes

from .role import Role

#: What a queue may be too large in.
MEMORY: Final = "memory_bytes"
GPU_MEMORY: Final = "gpu_memory_bytes"


class TooLarge(msgspec.Struct, frozen=True, kw_only=True):
    """One queue whose jobs would wait for ever.

    Attributes:
        queue: its name.
        place: table of the file that says so: `[queues.NAME]`, or a line of `[routes]`.
        what: memory_bytes, or gpu_memory_bytes of one GPU.
        needed: by each of its jobs.
        largest: the most that a worker which serves it has.
        worker: which worker of the profile that is.
    """

    queue: str
    place: str
    what: str
    needed: int
    largest: int
    worker: str


def too_large(
    needed: Sequence[Role],
    queues: Mapping[str, QueueTable],
    routes: Sequence[Route] = (),
    *,
    budget_bytes: int,
    gpu_bytes: Callable[[Role], int],
) -> list[TooLarge]:
    """Return the queues whose jobs no worker of a profile that serves them could hold.

    A queue that nobody serves is none of them, nor is one whose reservations are learned.

    Args:
        needed: the kinds of workers of the profile.
        queues: `[queues.*]` of the file.
        routes: `[routes]` of it; one that names no queue is left out, since its task's says where.
        budget_bytes: what a worker without a word of its own may reserve.
        gpu_bytes: returns the memory of the largest GPU that a worker may use; 0: it has none.
    """
    found = []
    asked = [(name, f"[queues.{name}]", one.options) for name, one in queues.items()]
    asked += [
        (str(one.options["queue"]), f"[routes], line {one.pattern}", one.options)
        for one in routes
        if "queue" in one.options
    ]
    for name, place, options in asked:
        serving = [one for one in needed if not one.queues or name in one.queues]
        for what, bytes_needed in _needs(options):
            has = {
                one.table.name: gpu_bytes(one)
                if what == GPU_MEMORY
                else one.memory_bytes or budget_bytes
                for one in serving
            }
            worker = max(has, key=has.__getitem__, default=None)
            if worker is not None and bytes_needed > has[worker]:
                found.append(
                    TooLarge(
                        queue=name,
                        place=place,
                        what=what,
                        needed=bytes_needed,
                        largest=has[worker],
                        worker=worker,
                    )
                )
    return found


def _needs(options: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for option, what in (("memory", MEMORY), ("gpu_memory", GPU_MEMORY)):
        said = options.get(option)
        if said is not None and said != "auto":
            yield what, size_bytes(said)
