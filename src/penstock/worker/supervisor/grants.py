"""What a job asks of a worker, and what it is given; and all that there is to give. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from penstock.core.capacity import Capacity
from penstock.core.demand import CPUS, GPU_CLAIM, MEMORY, with_gpu_memory
from penstock.core.job import Claimed
from penstock.core.need import is_alone

from .task_facts import Tasks


class Grant(NamedTuple):
    """What one attempt is given.

    Attributes:
        reserved_bytes: set aside for it.
        limit_bytes: what it may not pass; None: nothing was declared, and nothing is enforced.
        threads: that a library which computes may start in it.
        devices: GPUs that it may see, by UUID.
        gpu_memory_bytes: its part of the device; of whole ones, all that the smallest has.
        is_whole: it has whole ones.
    """

    reserved_bytes: int
    limit_bytes: int | None
    threads: int = 1
    devices: tuple[str, ...] = ()
    gpu_memory_bytes: int = 0
    is_whole: bool = False


class Misfit(NamedTuple):
    """A job that the worker cannot take now.

    Attributes:
        need: the ready set in which others find it.
        text: why, for people.
        needed_bytes: the memory that it needs.
    """

    need: str
    text: str
    needed_bytes: int


def need_of(job: Claimed, tasks: Tasks) -> str:
    """Return the ready set that tells what a job takes beside memory.

    A job that was enqueued as light work came here from a runner, since its task asks for more by
    now; a GPU's memory may have been enlarged since.
    """
    need = job.spec.need
    if not is_alone(need):
        facts = tasks.find(job.spec.task)
        need = need if facts is None else facts.need
    return with_gpu_memory(need, job.charges.gpu_memory_bytes)


def everything(total_bytes: int, capacity: Capacity) -> Mapping[str, int]:
    """Return what there is to be counted, by name as in `amounts_of`."""
    counted = {f"resource.{name}": count for name, count in capacity.resources.items()}
    return {MEMORY: total_bytes, CPUS: capacity.cpus_milli or 0, GPU_CLAIM: 1, **counted}
