"""What the workers of a profile need, worked out from its tables and those of the queues. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.config.profiles import Profile, WorkerTable
from penstock.config.queues import QueueTable
from penstock.config.settings import SETTINGS
from penstock.core.units import size_bytes

#: Bytes that a worker may reserve at least, as the setting `memory` wants it.
_MEMORY_FLOOR: Final = 64 * 2**20


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Cores, bytes of memory and GPUs: of a worker, a profile or a machine."""

    cores: int = 0
    memory_bytes: int = 0
    gpus: int = 0

    def __add__(self, other: Resources) -> Resources:
        """Return both together."""
        return Resources(
            cores=self.cores + other.cores,
            memory_bytes=self.memory_bytes + other.memory_bytes,
            gpus=self.gpus + other.gpus,
        )

    def times(self, count: int) -> Resources:
        """Return so many of them."""
        return Resources(
            cores=self.cores * count,
            memory_bytes=self.memory_bytes * count,
            gpus=self.gpus * count,
        )


class Over(msgspec.Struct, frozen=True, kw_only=True):
    """One total that a machine does not have.

    Attributes:
        what: cores, memory_bytes or gpus.
        needed: by the whole profile.
        here: what the machine has.
        over: by how much it is too little.
    """

    what: str
    needed: int
    here: int
    over: int


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of worker is started with and needs.

    Attributes:
        table: of the profile.
        queues: that it serves; empty: all.
        concurrency: threads and children together; None: as the setting says.
        memory_bytes: its budget; None: as the setting says, which is a share of the machine.
        each: what one such worker needs. Without a budget its memory counts as 0.
    """

    table: WorkerTable
    queues: tuple[str, ...]
    concurrency: int | None
    memory_bytes: int | None
    each: Resources

    @property
    def flags(self) -> dict[str, Any]:
        """Settings that each worker is started with, name -> value."""
        found: dict[str, Any] = dict(self.table.settings)
        if self.queues:
            found["queues"] = list(self.queues)
        if self.concurrency is not None:
            found["concurrency"] = self.concurrency
        if self.memory_bytes is not None:
            found["memory"] = self.memory_bytes
        return found


def roles_of(profile: Profile, queues: Mapping[str, QueueTable]) -> list[Role]:
    """Return what each kind of worker of a profile is started with and needs."""
    return [role_of(one, queues) for one in profile.workers]


def role_of(worker: WorkerTable, queues: Mapping[str, QueueTable]) -> Role:
    """Return what one kind of worker is started with and needs.

    What its own table does not say follows from the queues that it names: as many slots as they
    may use together, and the memory and GPUs of that many of their jobs. One that serves all queues
    makes do with what the machine has, as the settings say.

    Args:
        worker: its table.
        queues: `[queues.*]` of the file.
    """
    served = [queues[name] for name in worker.queues if name in queues]
    concurrency = _concurrency(worker, served)
    memory = _memory_bytes(worker, served, concurrency)
    return Role(
        table=worker,
        queues=worker.queues,
        concurrency=concurrency,
        memory_bytes=memory,
        each=Resources(
            cores=_cores(worker, concurrency),
            memory_bytes=memory or 0,
            gpus=_gpus(worker, served, concurrency),
        ),
    )


def total(needed: Sequence[Role]) -> Resources:
    """Return what all workers need together, each kind grown to its most."""
    return sum((one.each.times(one.table.most) for one in needed), Resources())


def excess(needed: Resources, here: Resources) -> list[Over]:
    """Return which totals the machine does not have, and by how much; none: the profile fits."""
    return [
        Over(what=what, needed=want, here=there, over=want - there)
        for what in Resources.__struct_fields__
        if (want := getattr(needed, what)) > (there := getattr(here, what))
    ]


def unserved(needed: Sequence[Role], named: Sequence[str]) -> list[str]:
    """Return the queues of a file that no worker of the profile serves."""
    if any(not one.queues for one in needed):
        return []
    served = {name for one in needed for name in one.queues}
    return [name for name in dict.fromkeys(named) if name not in served]


def _concurrency(worker: WorkerTable, served: Sequence[QueueTable]) -> int | None:
    said = worker.settings.get("concurrency")
    if said is not None:
        return int(SETTINGS["concurrency"].read(said))
    if not served or len(served) < len(worker.queues):
        return None
    numbers = [one.concurrency for one in served if one.concurrency is not None]
    return sum(numbers) if len(numbers) == len(served) else None


def _memory_bytes(
    worker: WorkerTable, served: Sequence[QueueTable], concurrency: int | None
) -> int | None:
    said = worker.settings.get("memory")
    if said is not None:
        return int(SETTINGS["memory"].read(said))
    found = 0
    for queue in served:
        memory = queue.options.get("memory")
        if memory is None:
            continue
        if memory == "auto":
            return None
        found += size_bytes(memory) * _at_once(queue, concurrency)
    return max(found, _MEMORY_FLOOR) if found else None


def _cores(worker: WorkerTable, concurrency: int | None) -> int:
    if worker.cores is not None:
        return worker.cores
    if concurrency is not None:
        return concurrency
    # A runner uses one core for Python code, whatever its threads wait for.
    return int(SETTINGS["processes"].read(worker.settings.get("processes", 1)))


def _gpus(worker: WorkerTable, served: Sequence[QueueTable], concurrency: int | None) -> int:
    if worker.gpu_count is not None:
        return worker.gpu_count
    whole = sum(int(one.options.get("gpu", 0)) * _at_once(one, concurrency) for one in served)
    # Jobs that ask for a part of a GPU share one.
    return whole or int(any("gpu_memory" in one.options for one in served))


def _at_once(queue: QueueTable, concurrency: int | None) -> int:
    """Return how many jobs of a queue a worker with so many slots runs at a time."""
    bounds = [bound for bound in (queue.concurrency, concurrency) if bound is not None]
    return min(bounds, default=1)
