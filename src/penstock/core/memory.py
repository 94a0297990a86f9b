"""Reservations, limits, and what a job is given after it ran out of memory. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from penstock.core.job import Charges, JobSpec

_MIB: Final = 2**20

#: Bytes that a job without a word about memory is counted as, and no limit follows from it: an
#: interpreter with an app and a web framework in it takes 40 to 100 MiB.
ASSUMED_BYTES: Final = 128 * _MIB
#: Bytes that a job whose reservation is learned is counted as before anything was: it may take what
#: the worker has, since nobody knows better.
COLD_BYTES: Final = 512 * _MIB
#: How much larger the reservation after an attempt that ran out of memory is: x1.5, then x2.25.
OOM_GROWTH: Final = 1.5
#: A limit lies above the reservation by a tenth, at least by this: a declared size is a round
#: number, and an allocator takes more than it hands out.
_MARGIN_PART: Final = 0.1
_MARGIN_BYTES: Final = 32 * _MIB
#: What the kernel enforces lies above the limit by a twentieth, at least by this: the watch, which
#: ends the whole family at once and knows why, comes first for what grows slowly enough; and there
#: is room for the page cache of a job that is near its limit.
_HARD_PART: Final = 0.05
_HARD_BYTES: Final = 16 * _MIB
#: Share of its limit from which on a killed process counts as killed for its memory.
_NEAR_PART: Final = 0.9
_SIGKILL: Final = 9


class Evidence(NamedTuple):
    """What is known of an attempt that ended badly in a child.

    Attributes:
        mark: the worker killed it for its memory.
        raised: user code raised MemoryError.
        killed_by: number of the signal that ended its process; None: none did.
        group_kills: processes of it that the kernel killed for memory, as its own group counted;
            None: it had no group.
        kernel_ooms: kills of the kernel for want of memory on this host meanwhile.
        peak_bytes: the most that it was seen to take.
        limit_bytes: what it was not to pass; None: no limit.
        was_bystander: an earlier attempt of its job was a bystander.
        at_own_limit: the kernel said that its group's own limit left no memory; False: nobody said.
    """

    mark: bool
    raised: bool
    killed_by: int | None
    kernel_ooms: int
    peak_bytes: int
    limit_bytes: int | None
    group_kills: int | None = None
    was_bystander: bool = False
    at_own_limit: bool = False


def evidence_text(seen: Evidence) -> str | None:
    """Return why an attempt counts as out of memory; None: it does not.

    In the order of reliability.md §4.7, what is certain first. The kernel's kills in its own group
    stand before our mark: we end what those have left over.
    """
    if _is_killed_within_limit(seen):
        return "the kernel killed it again for want of memory, and it was within its own limit"
    if seen.group_kills:
        return "the kernel killed in its memory group, for want of memory"
    if seen.mark:
        return "the worker killed it at its memory limit"
    if seen.raised:
        return "it raised MemoryError"
    if seen.killed_by != _SIGKILL or seen.group_kills is not None:
        # A group counts all that the kernel kills in it: what it did not count, somebody else did.
        return None
    if seen.limit_bytes is not None and seen.peak_bytes >= _NEAR_PART * seen.limit_bytes:
        return "it was killed near its memory limit"
    if seen.kernel_ooms > 0:
        return "the kernel killed for want of memory while it ran, and it was killed"
    return None


def is_bystander(seen: Evidence) -> bool:
    """Return whether an attempt is to be forgiven that the kernel killed for want of memory.

    It was well within its own limit: what ran out was the container's memory, or the machine's, and
    who took it nobody knows. The first of a job may well be a neighbour's doing. The second counts
    as out of memory: a job that outgrows what a worker has and says it has ends there each time.
    """
    return not seen.was_bystander and _is_killed_within_limit(seen)


def _is_killed_within_limit(seen: Evidence) -> bool:
    # Our mark says nothing here. The watch sets it for a kill of the kernel, too; where it was set
    # for what was held, that is more than the limit.
    if seen.raised or seen.at_own_limit or seen.limit_bytes is None:
        return False
    was_killed = bool(seen.group_kills) or (
        seen.group_kills is None and seen.killed_by == _SIGKILL and seen.kernel_ooms > 0
    )
    return was_killed and seen.peak_bytes < _NEAR_PART * seen.limit_bytes


def mib(size_bytes: int) -> str:
    """Return a size for people, in MiB."""
    return f"{size_bytes / _MIB:,.0f} MiB"


def declared_bytes(spec: JobSpec, charges: Charges) -> int | None:
    """Return the reservation that a job names, or was given since; None: it names none."""
    return spec.memory_bytes if charges.memory_bytes is None else charges.memory_bytes


def limit_bytes(reservation_bytes: int) -> int:
    """Return the bytes that a job of that reservation may not pass."""
    return reservation_bytes + max(_MARGIN_BYTES, round(reservation_bytes * _MARGIN_PART))


def reservation_within(most_bytes: int) -> int:
    """Return the largest reservation whose limit is not above `most_bytes`; 0: there is none."""
    reservation = min(most_bytes - _MARGIN_BYTES, int(most_bytes / (1 + _MARGIN_PART)) + 1)
    while reservation > 0 and limit_bytes(reservation) > most_bytes:
        # Bound: two steps at most, since only rounding lies between.
        reservation -= 1
    return max(0, reservation)


def hard_limit_bytes(limit_bytes: int | None) -> int | None:
    """Return the bytes at which the kernel stops a job of that limit; None: there is no limit."""
    if limit_bytes is None:
        return None
    return limit_bytes + max(_HARD_BYTES, round(limit_bytes * _HARD_PART))


def enlarged_bytes(reservation_bytes: int, largest_bytes: int | None) -> int | None:
    """Return the reservation after an attempt that ran out of memory; None: no worker has more.

    Args:
        reservation_bytes: of that attempt.
        largest_bytes: the budget of the largest worker alive; None: nobody knows.
    """
    wanted = round(reservation_bytes * OOM_GROWTH)
    if largest_bytes is None:
        return wanted
    return None if reservation_bytes >= largest_bytes else min(wanted, largest_bytes)
