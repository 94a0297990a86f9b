"""What a worker offers, from its settings and the GPUs that were found."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.config import quota
from penstock.config.settings import Settings
from penstock.core.capacity import Capacity
from penstock.core.devices import Device
from penstock.core.memory import mib

from .budget import Budget
from .device_shares import DeviceShares
from .health import health_dir
from .host_ledger import HostLedger
from .host_records import Record
from .host_share import HostShare, Pool
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
    """Return the budget of a worker that begins, in the ledgers of its host."""
    memory = start.settings.memory
    ledgers = _Ledgers(health_dir(environ, plan.health_dir), identity)
    machine = quota.memory_bytes()
    if memory > machine > 0:
        _log.warning(
            "memory is %s, and there are %s here: jobs may together take more than there is",
            mib(memory),
            mib(machine),
        )
    return Budget(
        memory,
        tasks,
        profiles,
        capacity=capacity_of(start.settings, start.devices),
        gpus=DeviceShares(start.devices, ledgers.of_device),
        host=ledgers.of_memory(memory),
    )


class _Ledgers:
    """Opens the ledgers of this host, or of the part of it that this worker sees."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        """Open none yet."""
        self._folder = folder
        self._identity = identity
        self._own = identity.owner(os.getpid())

    def of_memory(self, own_bytes: int) -> HostShare:
        """Open those of the machine's memory, and of each control group whose limit binds here.

        Services of one user may have limits of their own: what one of them has reserved leaves the
        limit of another untouched, and not the machine.
        """
        bounds = quota.memory_bounds() or {"": own_bytes}
        pools = [
            Pool(
                self._open(f"memory-{_digest(name)}" if name else "memory", "its memory"),
                max(quota.budget_of(size_bytes), own_bytes),
            )
            for name, size_bytes in bounds.items()
        ]
        seen = (self._identity.boot_id, self._identity.pid_namespace, os.getuid())
        smallest = min(bounds, key=bounds.__getitem__)
        return HostShare(
            pools, _digest("-".join([*map(str, seen), str(self._folder.resolve()), smallest]))
        )

    def of_device(self, device: Device) -> HostLedger:
        """Open that of a GPU."""
        return self._open(f"gpu-{_digest(device.uuid)}", f"GPU {device.uuid}")

    def _open(self, subject: str, what: str) -> HostLedger:
        # Processes are known by their numbers, so others than of this namespace cannot be judged.
        name = f"{subject}-{self._identity.boot_id[:8]}-{self._identity.pid_namespace}.ledger"
        own = Record(self._own.pid, self._own.started_ticks)
        return HostLedger(self._folder / name, own, is_alive=self._is_alive, what=what)

    def _is_alive(self, one: Record) -> bool:
        return not self._identity.is_dead(
            msgspec.structs.replace(self._own, pid=one.pid, started_ticks=one.started_ticks)
        )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
