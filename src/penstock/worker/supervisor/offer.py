"""What a worker offers, from its settings and the GPUs that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.config.settings import Settings
from penstock.core.capacity import Capacity
from penstock.core.devices import Device

from .budget import Budget
from .device_locks import DeviceLocks
from .health import health_dir
from .plan import WorkerPlan
from .profiles import Profiles
from .startup import Start
from .task_facts import Tasks


def capacity_of(settings: Settings, devices: Sequence[Device]) -> Capacity:
    """Return what is said of a worker with its leases."""
    return Capacity(
        memory_bytes=settings.memory,
        slots=settings.concurrency,
        cpus_milli=round(settings.cpus * 1000),
        labels=settings.labels,
        gpu_memory_bytes=tuple(one.memory_bytes for one in devices),
        resources=dict(settings.resources),
    )


def budget_of(
    start: Start, environ: Mapping[str, str], plan: WorkerPlan, tasks: Tasks, profiles: Profiles
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
    )
