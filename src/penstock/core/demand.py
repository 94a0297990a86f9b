"""What a job needs beside memory and a child: CPUs, labels, counted resources, GPUs. Pure.

A demand stands in the name of the ready set that the job waits in, in front of the set's plain
name: `takes.c1500.g1.leu.r2-license:alone.m12` is 1.5 CPUs, one GPU, a worker with the label `eu`
and two of `license`. So a worker knows without a table which sets it can take, and a claim costs
the same at any backlog. The word in front is another than that of plain sets, so that a worker of a
release that knows nothing of demands leaves these jobs alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.errors import BadSetting

_PREFIX: Final = "takes."
#: Bytes of a demand as it is asked for, in ASCII. The longest plain name has 30, and a share of a
#: GPU may grow by two digits: so no set's name has more than the 128 that a name may have.
DEMAND_BYTES_MAX: Final = 96
_MIB: Final = 2**20
_TERM: Final = re.compile(r"([cgv])([1-9][0-9]{0,9})\Z")
_LABEL: Final = re.compile(r"l([A-Za-z0-9_-]{1,32})\Z")
_RESOURCE: Final = re.compile(r"r([1-9][0-9]{0,9})-([A-Za-z0-9_-]{1,32})\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")


class Demand(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one job takes of a worker while it runs; what is 0 or empty it does not ask for.

    Attributes:
        cpus_milli: thousandths of a CPU.
        labels: that the worker must have, sorted.
        resources: counted things by name, and how many of each, sorted.
        gpus: whole devices.
        gpu_memory_bytes: of one device, shared with others; with `gpus`: what each of them must
            have at least. Whole MiB.
    """

    cpus_milli: int = 0
    labels: tuple[str, ...] = ()
    resources: tuple[tuple[str, int], ...] = ()
    gpus: int = 0
    gpu_memory_bytes: int = 0

    @property
    def takes_gpu(self) -> bool:
        """Whether it takes a device, or a part of one."""
        return self.gpus > 0 or self.gpu_memory_bytes > 0

    @property
    def threads(self) -> int:
        """Threads that a library which computes may start: one for each CPU begun, at least 1."""
        return max(1, math.ceil(self.cpus_milli / 1000))


NO_DEMAND: Final = Demand()


def check_offered_name(kind: str, value: object) -> str:
    """Return `value` if it is a legal name of a label or a resource.

    Raises:
        BadSetting: it is not; the message names the value and the rule.
    """
    if isinstance(value, str) and _NAME.match(value):
        return value
    raise BadSetting(
        f"{kind} {value!r:.80} is not allowed: use 1 to 32 characters out of letters, digits, _ "
        "and -"
    )


def laid_over(demand: Demand, **asked: Any) -> Demand:
    """Return `demand` with what a call asks for in its place; None: the call says nothing."""
    return msgspec.structs.replace(
        demand, **{name: value for name, value in asked.items() if value is not None}
    )


def check_demand(demand: Demand) -> Demand:
    """Return `demand` if the name of a ready set can hold it.

    Raises:
        BadSetting: it has more than `DEMAND_BYTES_MAX` there.
    """
    size = len(need_with(demand, ""))
    if size > DEMAND_BYTES_MAX:
        raise BadSetting(
            f"requires={list(demand.labels)} and resources={dict(demand.resources)} are too much "
            f"for one job: {size} characters in the name of its ready set, {DEMAND_BYTES_MAX} at "
            "most; use fewer or shorter names"
        )
    return demand


def need_with(demand: Demand, plain: str) -> str:
    """Return the ready set of jobs with a demand that would wait in `plain` without it."""
    if demand == NO_DEMAND:
        return plain
    mib = math.ceil(demand.gpu_memory_bytes / _MIB)
    numbers = (("c", demand.cpus_milli), ("g", demand.gpus), ("v", mib))
    terms = [f"{sign}{number}" for sign, number in numbers if number]
    terms += [f"l{label}" for label in sorted(demand.labels)]
    terms += [f"r{count}-{name}" for name, count in sorted(demand.resources)]
    return f"{_PREFIX}{'.'.join(terms)}:{plain}"


def has_demand(need: str) -> bool:
    """Return whether jobs of a ready set need more than memory and a child."""
    return need.startswith(_PREFIX)


def plain_need(need: str) -> str:
    """Return the name of a ready set without the demand in front of it."""
    return need.partition(":")[2] if has_demand(need) else need


def demand_of(need: str) -> Demand | None:
    """Return what jobs of a ready set take; None: a newer release asks for things unknown here."""
    if not has_demand(need):
        return NO_DEMAND
    numbers = {"c": 0, "g": 0, "v": 0}
    labels: list[str] = []
    resources: list[tuple[str, int]] = []
    for term in need.removeprefix(_PREFIX).partition(":")[0].split("."):
        if found := _TERM.match(term):
            numbers[found[1]] = int(found[2])
        elif found := _LABEL.match(term):
            labels.append(found[1])
        elif found := _RESOURCE.match(term):
            resources.append((found[2], int(found[1])))
        else:
            return None
    return Demand(
        cpus_milli=numbers["c"],
        labels=tuple(labels),
        resources=tuple(resources),
        gpus=numbers["g"],
        gpu_memory_bytes=numbers["v"] * _MIB,
    )


def with_gpu_memory(need: str, gpu_memory_bytes: int | None) -> str:
    """Return the ready set of a job that is to have that much of a device from now on."""
    demand = demand_of(need)
    if gpu_memory_bytes is None or demand is None or not demand.takes_gpu:
        return need
    wanted = msgspec.structs.replace(demand, gpu_memory_bytes=gpu_memory_bytes)
    return need_with(wanted, plain_need(need))


def in_words(demand: Demand) -> str:
    """Return a demand for people; empty: it is none."""
    words = []
    if demand.cpus_milli:
        words.append(f"{cpus_text(demand.cpus_milli)} CPUs")
    if demand.gpus:
        words.append(f"{demand.gpus} {'GPU' if demand.gpus == 1 else 'GPUs'}")
    if demand.gpu_memory_bytes:
        each = " on each" if demand.gpus else ""
        words.append(f"{demand.gpu_memory_bytes // _MIB:,} MiB of GPU memory{each}")
    words += [f"label {label}" for label in demand.labels]
    words += [f"{count} of {name}" for name, count in demand.resources]
    return ", ".join(words)


def cpus_text(cpus_milli: int) -> str:
    """Return a number of CPUs for people."""
    return f"{cpus_milli / 1000:g}"


#: Names of the amounts that a worker counts beside `resource.<name>`; see `amounts_of`.
MEMORY: Final = "memory"
CPUS: Final = "cpus"
GPU_CLAIM: Final = "gpu"


def amounts_of(demand: Demand, memory_bytes: int = 0) -> Mapping[str, int]:
    """Return what is counted while a job is claimed and runs: name -> amount, without zeros.

    Devices are no sum of anything, so they are kept elsewhere (`core.devices`). What is counted
    here is that one claim at a time may bring a job for them.
    """
    amounts = {MEMORY: memory_bytes, CPUS: demand.cpus_milli}
    amounts |= {f"resource.{name}": count for name, count in demand.resources}
    amounts[GPU_CLAIM] = 1 if demand.takes_gpu else 0
    return {name: amount for name, amount in amounts.items() if amount or name == MEMORY}
