"""What a worker offers, from its settings and the GPUs that were found. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from penstock.config.settings import Settings
from penstock.core.capacity import Capacity
from penstock.core.devices import Device
from penstock.errors import BadSetting

from .child_kinds import DEVICES_ENV

#: Begins the UUID of a part of a device (Multi-Instance GPU).
_PART_PREFIX: Final = "MIG-"


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


def chosen_devices(
    found: Sequence[Device], wanted: Sequence[int] | None, environ: Mapping[str, str]
) -> tuple[Device, ...]:
    """Return the devices of a worker, of those that the driver knows.

    Args:
        found: in the driver's order.
        wanted: indexes into them; None: all that the worker itself may see.
        environ: of the worker; CUDA_VISIBLE_DEVICES there, as a batch system or a container sets
            it, narrows what is meant by all. Source for its form: CUDA C++ Programming Guide.

    Raises:
        BadSetting: an index that the driver does not know.
    """
    if wanted is not None:
        missing = [index for index in wanted if index >= len(found)]
        if missing:
            raise BadSetting(
                f"gpus names device {missing[0]}, and the driver knows {len(found)}: give indexes "
                "from 0 up, all, or none"
            )
        return tuple(found[index] for index in wanted)
    visible = environ.get(DEVICES_ENV)
    if visible is None:
        return tuple(found)
    chosen: list[Device] = []
    for word in (part.strip() for part in visible.split(",")):
        one = _named(found, word)
        if one is None:
            # As CUDA reads it: what follows a word that names no device is not seen.
            break
        chosen.append(one)
    return tuple(dict.fromkeys(chosen))


def _named(found: Sequence[Device], word: str) -> Device | None:
    if word.isdecimal():
        return found[int(word)] if int(word) < len(found) else None
    if word.startswith(_PART_PREFIX) or not word:
        return None
    return next((one for one in found if one.uuid.startswith(word)), None)
