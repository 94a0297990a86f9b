"""What an attempt in a child has taken, from what the child and the watch saw. Pure."""

from __future__ import annotations

from penstock.core import outcome as o
from penstock.core.job import StoredError
from penstock.core.memory import limit_bytes, mib
from penstock.core.usage import Usage
from penstock.executors.memory_group import Taken
from penstock.worker.measured import Measured

from .grants import Grant


def usage_of(
    sampled_bytes: int,
    grant: Grant | None,
    measured: Measured | None,
    taken: Taken | None = None,
    *,
    idle_bytes: int = 0,
) -> Usage:
    """Return what an attempt took and was given.

    Args:
        sampled_bytes: the most that its processes were seen to hold together.
        grant: what it was given; None: it did not begin.
        measured: what the child saw of itself; None: it ended without a word.
        taken: what its control group saw; None: it has none.
        idle_bytes: what the child was seen to hold before the attempt; 0: not known.
    """
    if taken is not None:
        return _of_group(taken, grant, measured)
    own = None if measured is None else measured.peak_bytes
    # The child's mark misses nothing, but programs of the job have marks of their own.
    is_own = own is not None and own >= sampled_bytes
    peak = own if is_own else sampled_bytes
    baseline = idle_bytes if measured is None else measured.baseline_bytes
    return Usage(
        peak_bytes=peak or None,
        baseline_bytes=baseline or None,
        reserved_bytes=None if grant is None else grant.reserved_bytes,
        limit_bytes=None if grant is None else grant.limit_bytes,
        measured=("hwm" if is_own else "sampled") if peak else None,
        cpu_ms=None if measured is None else measured.cpu_ms,
    )


def _of_group(taken: Taken, grant: Grant | None, measured: Measured | None) -> Usage:
    peak = taken.peak_bytes
    if measured is not None and measured.peak_bytes is not None:
        # The child's mark misses nothing of what it did itself, where much cache hides it from the
        # group's; pages of files that the job mapped can be given up.
        peak = max(peak, measured.peak_bytes - measured.file_bytes)
    return Usage(
        peak_bytes=peak or None,
        baseline_bytes=taken.baseline_bytes or None,
        reserved_bytes=None if grant is None else grant.reserved_bytes,
        limit_bytes=None if grant is None else grant.limit_bytes,
        measured="cgroup" if peak else None,
        cpu_ms=None if measured is None else measured.cpu_ms,
    )


def out_of_memory(
    evidence: str, usage: Usage, grant: Grant, largest_bytes: int, traceback: str | None
) -> o.OutOfMemory:
    """Return the outcome of an attempt that ran out of memory.

    Args:
        evidence: what shows it.
        usage: what it took.
        grant: what it was given.
        largest_bytes: the budget of the largest worker alive.
        traceback: of MemoryError, or the last stack of its process.
    """
    peak = usage.peak_bytes or 0
    limit = "no limit" if grant.limit_bytes is None else f"a limit of {mib(grant.limit_bytes)}"
    text = f"{evidence}; seen to take {mib(peak)} with {limit}"
    # A first run may take all that its worker has, and a job that declares nothing has no limit:
    # what it was given is what it took. Less would be tried again with less.
    is_open = grant.limit_bytes is None or grant.limit_bytes > limit_bytes(grant.reserved_bytes)
    known = peak if is_open else 0
    baseline = usage.baseline_bytes or 0
    if grant.limit_bytes is not None and baseline >= grant.reserved_bytes:
        # Half as much again of too little for the app alone would be killed again.
        known = max(known, baseline)
        text += (
            f"; the child held {mib(baseline)} before the job began, and "
            f"{mib(grant.reserved_bytes)} were reserved: declare memory= above what the app's "
            "imports take"
        )
    return o.OutOfMemory(
        StoredError("out_of_memory", text, traceback),
        max(grant.reserved_bytes, known),
        largest_bytes,
    )
