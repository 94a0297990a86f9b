"""Jobs of a worker that is cut off: which end and when, which may begin, whose loss is charged."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from penstock.core.job import Charges
from penstock.core.partition import (
    MARGIN_MAX_MS,
    OnPartition,
    ends_at_ms,
    is_loss_charged,
    margin_ms,
    may_begin,
)

BOTH: tuple[OnPartition, ...] = ("continue", "kill")
#: Times of a lease: the shortest that settings allow, those of the tests, the default, an hour.
TTLS_MS = (300, 999, 1_000, 2_000, 4_000, 8_000, 12_000, 3_600_000)


@pytest.mark.parametrize(
    ("ttl_ms", "margin"),
    [(300, 75), (2_000, 500), (4_000, 1_000), (8_000, 2_000), (12_000, 2_000), (60_000, 2_000)],
)
def test_the_margin_is_two_seconds_and_a_quarter_of_a_short_lease(ttl_ms: int, margin: int) -> None:
    """2 s from leases of 8 s on, below that a quarter."""
    assert margin_ms(ttl_ms) == margin


def test_the_margin_leaves_room_for_lost_extensions() -> None:
    """It grows with the lease, is never nothing, and leaves two thirds: two lost extensions."""
    for shorter, longer in pairwise(TTLS_MS):
        assert 0 < margin_ms(shorter) <= margin_ms(longer) <= MARGIN_MAX_MS
    for ttl_ms in TTLS_MS:
        # Settings let an extension take a third of the lease at most.
        assert ttl_ms - margin_ms(ttl_ms) > 2 * (ttl_ms // 3)


def test_one_that_goes_on_never_ends_and_one_that_is_killed_ends_in_time() -> None:
    """Only "kill" has an end, one margin before the lease can have run out."""
    for ttl_ms, sent_ms in product(TTLS_MS, (0, 5, 10**12)):
        runs_out_ms = sent_ms + ttl_ms
        assert ends_at_ms("continue", runs_out_ms=runs_out_ms, lease_ttl_ms=ttl_ms) is None
        ends_ms = ends_at_ms("kill", runs_out_ms=runs_out_ms, lease_ttl_ms=ttl_ms)
        assert ends_ms is not None
        assert sent_ms < ends_ms < runs_out_ms
        assert runs_out_ms - ends_ms == margin_ms(ttl_ms)


def test_nothing_begins_that_would_end_at_once_or_belong_to_another() -> None:
    """An attempt begins exactly while its end, or that of its lease, still lies ahead."""
    for on_partition, ttl_ms in product(BOTH, TTLS_MS):
        runs_out_ms = 1_000_000 + ttl_ms
        ends_ms = ends_at_ms(on_partition, runs_out_ms=runs_out_ms, lease_ttl_ms=ttl_ms)
        last_ms = runs_out_ms if ends_ms is None else ends_ms
        for now_ms in (0, 1_000_000, last_ms - 1, last_ms, last_ms + 1, runs_out_ms, 10**9):
            begins = may_begin(
                on_partition, runs_out_ms=runs_out_ms, lease_ttl_ms=ttl_ms, now_ms=now_ms
            )
            assert begins == (now_ms < last_ms), (on_partition, ttl_ms, now_ms)


def test_nothing_begins_under_a_lease_that_is_not_held() -> None:
    """A lease that nobody holds ran out at the beginning of time."""
    for on_partition, now_ms in product(BOTH, (0, 1, 10**9)):
        assert not may_begin(on_partition, runs_out_ms=0, lease_ttl_ms=12_000, now_ms=now_ms)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("on_partition", BOTH)
@pytest.mark.parametrize("lost", [False, True])
def test_the_first_loss_of_an_exclusive_job_is_not_charged(
    *, alone: bool, on_partition: OnPartition, lost: bool
) -> None:
    """Among others: never; alone: always, but for the first loss of one that is killed."""
    charged = is_loss_charged(alone=alone, on_partition=on_partition, charges=Charges(lost=lost))
    assert charged == (alone and not (on_partition == "kill" and not lost))
