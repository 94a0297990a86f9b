"""What becomes of jobs whose worker cannot extend its lease: they go on, or are dead in time.

A lease that is not extended runs out, and then another worker may run its jobs. A call that extends
it lets it run on from the instant at which the broker carries it out, which lies after the one at
which the call was sent. So whoever counts from the sending, on the clock of the host's boot, never
believes in a lease for longer than the broker does.
"""

from __future__ import annotations

from typing import Final, Literal

from penstock.core.job import Charges

OnPartition = Literal["continue", "kill"]
"""What a job does when its lease cannot be extended: go on, its result refused if another attempt
has begun; or be killed, with everything below it, before the lease can have run out."""

#: Milliseconds before the end of a lease at which its exclusive jobs are killed (reliability 4.1):
#: for the kill itself, for a busy machine, and for clocks that do not run alike.
MARGIN_MAX_MS: Final = 2_000
#: One in so many parts of a short lease is its margin: what is left still lets one extension fail.
_MARGIN_PART: Final = 4


def margin_ms(lease_ttl_ms: int) -> int:
    """Return how long before the end of a lease its exclusive jobs are killed."""
    return min(MARGIN_MAX_MS, lease_ttl_ms // _MARGIN_PART)


def ends_at_ms(on_partition: OnPartition, *, runs_out_ms: int, lease_ttl_ms: int) -> int | None:
    """Return the instant at which an attempt is killed unless its lease is extended; None: never.

    Args:
        on_partition: as the attempt's task says.
        runs_out_ms: instant before which the lease cannot run out.
        lease_ttl_ms: for how long a lease is extended.
    """
    return runs_out_ms - margin_ms(lease_ttl_ms) if on_partition == "kill" else None


def may_begin(
    on_partition: OnPartition, *, runs_out_ms: int, lease_ttl_ms: int, now_ms: int
) -> bool:
    """Return whether an attempt may begin now under a lease that cannot run out before an instant.

    One that would be killed at once does not begin, nor does one whose job may be another's by now.
    """
    ends_ms = ends_at_ms(on_partition, runs_out_ms=runs_out_ms, lease_ttl_ms=lease_ttl_ms)
    return now_ms < (runs_out_ms if ends_ms is None else ends_ms)


def is_loss_charged(*, alone: bool, on_partition: OnPartition, charges: Charges) -> bool:
    """Return whether a loss without a witness counts as a crash of the job.

    It does where the job ran alone: it may have taken its worker along. But an exclusive job is
    killed by a worker that is cut off, so that its loss says nothing against it. Only the first
    is forgiven: a job that takes whole hosts along would else do so for ever.

    Args:
        alone: the attempt ran alone in a child.
        on_partition: as its task says.
        charges: what was marked at earlier attempts.
    """
    return alone and (on_partition == "continue" or charges.lost)
