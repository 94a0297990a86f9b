"""Running out of memory told from a crash, by what is known of an attempt that ended badly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.core import outcome as o
from penstock.core.job import Claimed, StoredError
from penstock.core.memory import Evidence, evidence_text, is_bystander
from penstock.core.outcome import Outcome
from penstock.core.usage import Usage
from penstock.executors.memory_group import Taken

from .budget import Budget
from .child_end import Mark
from .child_process import ChildProcess
from .gpu_takings import out_of_gpu_memory
from .grants import Grant
from .takings import out_of_memory

_BYSTANDER: Final = "the kernel killed it for want of memory, and it was within its own limit"


def judged(
    outcome: Outcome | None,
    usage: Usage,
    *,
    child: ChildProcess,
    grant: Grant | None,
    budget: Budget,
    taken: Taken | None,
    kernel_ooms: Callable[[], int],
    job: Claimed,
) -> tuple[Outcome | None, Usage]:
    """Return how the attempt ended, and what it took, with the evidence where it is out of memory.

    Args:
        outcome: as the child or its end told it.
        usage: what it took.
        child: where it ran.
        grant: what it was given; None: it did not begin.
        budget: knows the largest worker.
        taken: what its group saw; None: it had no group.
        kernel_ooms: returns the kills for want of memory on this host meanwhile; costs 100 us.
        job: of the attempt, as claimed.
    """
    if grant is None or not isinstance(outcome, o.OutOfMemory | o.Crashed | o.Failed):
        return outcome, usage
    kills = None if taken is None else taken.kills
    if isinstance(outcome, o.Failed) and not kills:
        # Otherwise a program of the job was killed for the memory of both, and told nobody why.
        return outcome, usage
    if isinstance(outcome, o.OutOfMemory) and outcome.of_gpu:
        told = msgspec.structs.replace(usage, evidence=f"it raised {outcome.error.kind}")
        return out_of_gpu_memory(outcome, grant, budget.counting.largest.gpu_bytes(job.queue)), told
    exited, is_marked = child.process.exited, child.mark is Mark.MEMORY
    seen = Evidence(
        mark=is_marked,
        raised=isinstance(outcome, o.OutOfMemory) and not is_marked,
        killed_by=exited.result().killed_by if exited.done() else None,
        kernel_ooms=kernel_ooms(),
        peak_bytes=usage.peak_bytes or 0,
        limit_bytes=grant.limit_bytes,
        group_kills=kills,
        was_bystander=job.charges.bystander,
        at_own_limit=taken is not None and taken.at_limit,
    )
    if is_bystander(seen):
        return o.Interrupted(StoredError("interrupted", _BYSTANDER), bystander=True), usage
    evidence = evidence_text(seen)
    if evidence is None:
        return outcome, usage
    told = msgspec.structs.replace(usage, evidence=evidence)
    traceback = outcome.error.traceback
    largest_bytes = budget.counting.largest_bytes(job)
    return out_of_memory(evidence, told, grant, largest_bytes, traceback), told
