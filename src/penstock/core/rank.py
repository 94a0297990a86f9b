"""The place of a job in its ready set, as one integer: lower goes first.

Bit layout (52 bits, so that it is exact in a double, as Redis scores are):

    4 bits   10 - priority: band 0 is priority 10
    48 bits  arrival: since when the job is claimable, in milliseconds since 1970: its due time if
             it waited for one, else when it was enqueued, unblocked or requeued; kept by a release

Jobs of equal rank go by id, which is time order. Fair tags between tenants will take bits of the
arrival part; see ADR-0008.
"""

from __future__ import annotations

from typing import Final

from penstock.core.job import PRIORITY_MAX

_ARRIVAL_BITS: Final = 48


def rank_of(priority: int, queued_at_ms: int) -> int:
    """Return the rank of a job of `priority` (0..10) that arrived at `queued_at_ms`."""
    return ((PRIORITY_MAX - priority) << _ARRIVAL_BITS) | queued_at_ms
