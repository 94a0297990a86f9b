"""What a worker can take; facts, of which the broker knows no meaning."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.core.demand import Demand, cpus_text
from penstock.core.devices import could_hold


class Stance(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a worker does not take for the moment, though it could.

    Attributes:
        is_quiet: it takes nothing: it is in quiet mode, or drains.
        is_pressed: memory is short on its machine: as long as it runs jobs in children it starts no
            further one.
        held_for: the ready set, as (queue, need), of a job that has waited long and for which it
            keeps itself free; None: it does for none.
        held_bytes: memory that such a job takes.
        wanted_bytes: of that, what other workers that share its pool are to leave free: all of it
            while memory is what such a job is short of, else nothing.
    """

    is_quiet: bool = False
    is_pressed: bool = False
    held_for: tuple[str, str] | None = None
    held_bytes: int = 0
    wanted_bytes: int = 0


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the worker behind a lease can take, all of it, whatever of that is in use.

    Attributes:
        memory_bytes: its budget; None: it has none.
        slots: jobs that it runs at a time; None: not told.
        cpus_milli: thousandths of a CPU that jobs which ask for some may take; None: not told.
        labels: names of what it offers, which jobs may ask for.
        gpu_memory_bytes: memory of each GPU that it may use, in the order of the devices.
        resources: other things by name, and how many of each.
        pool: name of the memory that it shares with the other workers of its host; empty: it has
            its own, as far as it knows.
        pool_bytes: what those who share it may reserve together, as this one is told; None: as
            `pool` is empty, or not told.
        queue_limits: jobs that it runs of a queue at a time, for the queues that have a limit: so
            many in children, and as many in its runners, which share them out.
        runners: processes that run jobs side by side; None: not told.
        light_slots: further threads, for light jobs only; None: not told.
        light_runtime_ms: how long jobs of a task that is light last at most; None: not told.
        light_tasks: tasks that say themselves whether their jobs are light.
        stance: what it does not take for the moment; said anew as that changes, with the lease of
            its supervisor.
    """

    memory_bytes: int | None = None
    slots: int | None = None
    cpus_milli: int | None = None
    labels: tuple[str, ...] = ()
    gpu_memory_bytes: tuple[int, ...] = ()
    resources: dict[str, int] = {}
    pool: str = ""
    pool_bytes: int | None = None
    queue_limits: dict[str, int] = {}
    runners: int | None = None
    light_slots: int | None = None
    light_runtime_ms: int | None = None
    light_tasks: dict[str, bool] = {}
    stance: Stance | None = None

    def limit_of(self, queue: str, *, is_lone: bool) -> int | None:
        """Return how many jobs of a queue it runs at a time; None: it knows no limit.

        Args:
            queue: of the jobs.
            is_lone: whether they run in children.
        """
        limit = self.queue_limits.get(queue)
        if limit is None or is_lone:
            return limit
        runners = self.runners or 1
        return runners * share_of(limit, runners)


def share_of(limit: int, runners: int) -> int:
    """Return how many jobs of a queue each of so many runners may run at a time.

    They know nothing of each other, so each gets an equal share, and one at least: else a queue
    could be without any runner.
    """
    return max(1, limit // runners)


def wanting(capacity: Capacity, demand: Demand) -> str | None:
    """Return what a job takes that a worker lacks even while nothing runs there, in words.

    None: it lacks nothing. What its memory can hold is not asked here.
    """
    lacks = [f"label {label}" for label in demand.labels if label not in capacity.labels]
    for name, count in demand.resources:
        here = capacity.resources.get(name, 0)
        if count > here:
            lacks.append(f"{count} of {name} (it has {here})")
    cpus = capacity.cpus_milli
    if demand.cpus_milli and (cpus is None or demand.cpus_milli > cpus):
        has = "none to count" if cpus is None else cpus_text(cpus)
        lacks.append(f"{cpus_text(demand.cpus_milli)} CPUs (it has {has})")
    if not could_hold(capacity.gpu_memory_bytes, demand):
        lacks.append("GPUs that are as many and as large")
    return ", ".join(lacks) or None


def largest_bytes(capacities: Iterable[Capacity], demand: Demand) -> int | None:
    """Return the largest budget of the workers that have what a job takes; None: none says.

    What is learned of a task is cut to it: a job that no worker could hold would wait for ever.
    """
    having = (one.memory_bytes for one in capacities if wanting(one, demand) is None)
    return max((one for one in having if one is not None), default=None)
