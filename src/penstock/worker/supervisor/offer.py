"""What a worker offers, from its settings and the GPUs that were found."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.config.quota import budget_bytes
from penstock.config.quota import memory_bytes as machine_bytes
from penstock.config.settings import Settings
from penstock.core.capacity import Capacity
from penstock.core.devices import Device
from penstock.core.memory import mib

from .budget import Budget
from .device_locks import DeviceLocks
from .health import health_dir
from .host_ledger import HostLedger, Record
from .host_share import HostShare
from .identity import Identity
from .plan import WorkerPlan
from .profiles import Profiles
from .startup import Start
from .task_facts import Tasks

_log = logging.getLogger("penstock.worker")

#: Tasks that a lease names, with about 40 bytes each.
_LIGHT_TASKS_MAX: Final = 100


def capacity_of(
    settings: Settings,
    devices: Sequence[Device],
    *,
    host: HostShare | None = None,
    tasks: Tasks | None = None,
) -> Capacity:
    """Return what is said of a worker with its leases.

    Args:
        settings: of the worker.
        devices: its GPUs.
        host: the memory that it shares; None: there is nobody to share it with.
        tasks: of the app; None: nothing is said of them.
    """
    limits = {} if tasks is None else tasks.queue_limits
    light = {} if tasks is None else tasks.light
    shared = host if host is not None and host.name else None
    return Capacity(
        memory_bytes=settings.memory,
        slots=settings.concurrency,
        cpus_milli=round(settings.cpus * 1000),
        labels=settings.labels,
        gpu_memory_bytes=tuple(one.memory_bytes for one in devices),
        resources=dict(settings.resources),
        queue_limits={name: most for name, most in limits.items() if name in settings.queues},
        runners=settings.processes,
        # As they are shared out: each runner has the same part.
        light_slots=settings.processes * -(-settings.light_slots // settings.processes),
        # Of so many tasks nobody is told who is light.
        light_runtime_ms=settings.light_runtime_max_ms if len(light) <= _LIGHT_TASKS_MAX else None,
        light_tasks=light if len(light) <= _LIGHT_TASKS_MAX else {},
        pool="" if shared is None else shared.name,
        pool_bytes=None if shared is None else shared.pool_bytes,
    )


def budget_of(
    start: Start,
    environ: Mapping[str, str],
    plan: WorkerPlan,
    identity: Identity,
    tasks: Tasks,
    profiles: Profiles,
) -> Budget:
    """Return the budget of a worker that begins, with the locks of its GPUs."""
    folder = health_dir(environ, plan.health_dir)
    return Budget(
        start.settings.memory,
        tasks,
        profiles,
        capacity=capacity_of(start.settings, start.devices),
        devices=start.devices,
        locks=DeviceLocks(folder, [one.uuid for one in start.devices]),
        host=host_share(folder, start.settings.memory, identity),
    )


def host_share(folder: Path, memory_bytes: int, identity: Identity) -> HostShare:
    """Return this worker's share of the memory of its host, or of the part of it that it sees."""
    own = identity.owner(os.getpid())
    # Processes are known by their numbers here, so others than of this namespace cannot be judged.
    name = f"memory-{identity.boot_id[:8]}-{identity.pid_namespace}.ledger"

    def is_alive(one: Record) -> bool:
        return not identity.is_dead(
            msgspec.structs.replace(own, pid=one.pid, started_ticks=one.started_ticks)
        )

    machine = machine_bytes()
    if memory_bytes > machine > 0:
        _log.warning(
            "memory is %s, and there are %s here: jobs may together take more than there is",
            mib(memory_bytes),
            mib(machine),
        )
    ledger = HostLedger(folder / name, Record(own.pid, own.started_ticks), is_alive=is_alive)
    seen = f"{identity.boot_id}-{identity.pid_namespace}-{os.getuid()}-{folder.resolve()}"
    pool = hashlib.blake2b(seen.encode(), digest_size=6).hexdigest()
    return HostShare(ledger, max(budget_bytes(), memory_bytes), pool)
