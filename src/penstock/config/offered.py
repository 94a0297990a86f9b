"""The settings that say what a worker offers its jobs: memory, CPUs, labels, resources, GPUs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.config.quota import budget_bytes, cpus
from penstock.core.demand import check_offered_name
from penstock.core.units import size_bytes
from penstock.errors import BadSetting
from penstock.tasks.demand_options import COUNT_MOST, CPUS_LEAST, CPUS_MOST

#: Bytes that a worker must be able to reserve: what a child takes before its job.
_MIB: Final = 2**20
_MEMORY_FLOOR: Final = 64 * _MIB
#: Labels, or kinds of resources, of one worker: they stand with each of its leases.
_NAMES_MAX: Final = 64
_PERCENT_MAX: Final = 100
#: Setting -> option of `penstock worker` that sets it.
OFFERED_FLAGS: Final[Mapping[str, str]] = {
    "memory": "--memory", "cpus": "--cpus", "labels": "--labels", "resources": "--resources",
    "gpus": "--gpus",
}  # fmt: skip


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker offers; the meaning of each stands in `OFFERED`.

    Attributes:
        memory: bytes.
        memory_pause: percent of time.
        cpus: CPUs, maybe a part of one.
        labels: sorted.
        resources: names and how many of each, sorted.
        gpus: indexes as the driver counts them; None: all.
    """

    memory: int
    memory_pause: int
    cpus: float
    labels: tuple[str, ...]
    resources: tuple[tuple[str, int], ...]
    gpus: tuple[int, ...] | None


def _memory(value: object) -> int:
    found = budget_bytes() if value == "" else size_bytes(value)
    if found < _MEMORY_FLOOR:
        raise BadSetting(f"{value!r:.80} is too little: give 64MiB or more")
    # Whole MiB: ready sets tell in MiB which worker was too small for what waits in them. Rounded
    # up where it was said, so that a job of the same size fits; down where it was measured.
    return (found // _MIB if value == "" else math.ceil(found / _MIB)) * _MIB


def _percent(value: object) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _PERCENT_MAX:
        return number
    raise BadSetting(f"{value!r:.80} is not a whole number from 0 to {_PERCENT_MAX}")


def _cpus(value: object) -> float:
    if value == "":
        return float(cpus())
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not CPUS_LEAST <= number <= CPUS_MOST:
        raise BadSetting(f"{value!r:.80} is not a number from {CPUS_LEAST} to {CPUS_MOST}")
    return number


def _labels(value: object) -> tuple[str, ...]:
    names = {check_offered_name("label", one) for one in _parts(value, "eu,licensed")}
    return tuple(sorted(names))


def _resources(value: object) -> tuple[tuple[str, int], ...]:
    if isinstance(value, Mapping):
        # A table in a file says the same as the text.
        value = [f"{name}={count}" for name, count in value.items()]
    found: dict[str, int] = {}
    for part in _parts(value, "license=2,gpu_hours=1"):
        name, _, count = part.partition("=")
        if not count.isdecimal() or not 1 <= int(count) <= COUNT_MOST:
            raise BadSetting(
                f"{part!r:.80} is no counted resource: give NAME=NUMBER, the number from 1 to "
                f"{COUNT_MOST}"
            )
        found[check_offered_name("resource", name)] = int(count)
    return tuple(sorted(found.items()))


def _gpus(value: object) -> tuple[int, ...] | None:
    if value == "all":
        return None
    if value == "none":
        return ()
    parts = [str(part) for part in _parts(value, "0,1", numbers=True)]
    if not parts or not all(part.isdecimal() for part in parts):
        raise BadSetting(f"{value!r:.80} names no GPUs: give all, none, or indexes such as 0,1")
    return tuple(sorted({int(part) for part in parts}))


def _parts(value: object, example: str, *, numbers: bool = False) -> Sequence[Any]:
    """Return the parts of a list, or of text with commas."""
    if isinstance(value, int) and numbers and not isinstance(value, bool):
        value = str(value)
    parts = value.split(",") if isinstance(value, str) else value
    allowed = str | int if numbers else str
    if not isinstance(parts, list | tuple) or not all(isinstance(one, allowed) for one in parts):
        raise BadSetting(f"{value!r:.80} is no list: give one, or text such as {example!r}")
    found = [one.strip() if isinstance(one, str) else one for one in parts]
    if len(found) > _NAMES_MAX:
        raise BadSetting(f"{len(found)} are too many: give {_NAMES_MAX} at most")
    return [one for one in found if one != ""]


#: Rows of the table of settings: name, component, kind, default, unit, how it is read, reason.
OFFERED: Final = (
    ("memory", "offer", "size", "", "bytes", _memory,
     "what jobs in children may reserve together; none: 85 % of the container's or machine's"),
    ("memory_pause", "offer", "number", "10", "%", _percent,
     "share of 10 s that all stood still for want of memory, above which jobs wait; 0: never"),
    ("cpus", "offer", "number", "", "", _cpus,
     "what jobs with `cpus=` share; none: the CPU quota of the container, else the cores"),
    ("labels", "offer", "names", "", "", _labels,
     "what jobs with `requires=` find here"),
    ("resources", "offer", "NAME=NUMBER,...", "", "", _resources,
     "counted things that jobs with `resources=` share, in each worker its own"),
    ("gpus", "offer", "all | none | indexes", "all", "", _gpus,
     "which GPUs jobs with `gpu=` or `gpu_memory=` may have; workers of a host share them"),
)  # fmt: skip
