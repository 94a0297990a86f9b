"""The options by which a task or call asks for CPUs, labels, resources and GPUs, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from penstock.core.demand import Demand, check_demand, check_offered_name
from penstock.core.units import size_bytes
from penstock.errors import BadSetting

#: CPUs of one job: at least a tenth, below which nothing can be told apart, and at most what the
#: largest machines have.
CPUS_LEAST: Final = 0.1
CPUS_MOST: Final = 4_096
#: GPUs of one job: four times what the largest single machines hold.
GPUS_MOST: Final = 64
#: Pieces of one resource.
COUNT_MOST: Final = 10**9
_MIB: Final = 2**20


def check_cpus(value: object) -> int:
    """Return thousandths of a CPU.

    Raises:
        BadSetting: no number from `CPUS_LEAST` to `CPUS_MOST`.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    if CPUS_LEAST <= number <= CPUS_MOST:
        return round(number * 1000)
    raise BadSetting(
        f"cpus {value!r:.80} is not allowed: give a number from {CPUS_LEAST} to {CPUS_MOST}, for "
        "example 2 or 0.5"
    )


def check_requires(value: object) -> tuple[str, ...]:
    """Return the labels that a worker must have, sorted.

    Raises:
        BadSetting: no collection of names.
    """
    if isinstance(value, str) or not isinstance(value, Sequence | AbstractSet):
        raise BadSetting(
            f"requires {value!r:.80} is not allowed: give a set of labels, for example "
            'requires={"eu"}'
        )
    return tuple(sorted({check_offered_name("label", one) for one in value}))


def check_resources(value: object) -> tuple[tuple[str, int], ...]:
    """Return counted resources, sorted by name; those of which none is wanted are left out.

    Raises:
        BadSetting: no mapping of names to whole numbers from 0 to `COUNT_MOST`.
    """
    if not isinstance(value, Mapping):
        raise BadSetting(
            f"resources {value!r:.80} are not allowed: give how many of each, for example "
            'resources={"license": 1}'
        )
    found = {check_offered_name("resource", name): _count(name, n) for name, n in value.items()}
    return tuple(sorted((name, count) for name, count in found.items() if count))


def check_gpu(value: object) -> int:
    """Return a number of whole GPUs.

    Raises:
        BadSetting: no whole number from 0 to `GPUS_MOST`.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= GPUS_MOST:
        return value
    raise BadSetting(
        f"gpu {value!r:.80} is not allowed: give a whole number of devices from 0 to {GPUS_MOST}, "
        'or a part of one by gpu_memory="8GiB"'
    )


def check_gpu_memory(value: object) -> int:
    """Return bytes of GPU memory, in whole MiB, rounded up.

    Raises:
        BadSetting: no size.
    """
    return math.ceil(size_bytes(value, name="gpu_memory") / _MIB) * _MIB


#: Option -> field of `Demand`, and how its value is checked.
CHECKS: Final[Mapping[str, tuple[str, Callable[[object], Any]]]] = {
    "cpus": ("cpus_milli", check_cpus),
    "requires": ("labels", check_requires),
    "resources": ("resources", check_resources),
    "gpu": ("gpus", check_gpu),
    "gpu_memory": ("gpu_memory_bytes", check_gpu_memory),
}


def demand_from(options: Mapping[str, Any]) -> Demand:
    """Return what a task's options ask for.

    Raises:
        BadSetting: a value breaks its rule, or all of it is too much for one job.
    """
    given = {name: options[name] for name in CHECKS if options.get(name) is not None}
    fields: dict[str, Any] = {
        CHECKS[name][0]: CHECKS[name][1](value) for name, value in given.items()
    }
    return check_demand(Demand(**fields))


def _count(name: object, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNT_MOST:
        return value
    raise BadSetting(
        f"resource {name} cannot be counted as {value!r:.80}: give a whole number from 0 to "
        f"{COUNT_MOST}"
    )
