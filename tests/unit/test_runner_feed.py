"""A feed with two claims under way: what it asks for, and whether it asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from penstock.broker.requests import ClaimAnswer
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import SHARED, Claimed, JobSpec
from penstock.testing import ManualClock
from penstock.worker.runner.feed import Feed

LEASE = LeaseId("a" * 32)
SLOTS = 10
#: Jobs that one claim asks for where two may be under way.
SHARE = 5
EMPTY = ClaimAnswer(jobs=(), lease_open=True, next_due_in_ms=None)


def jobs(count: int) -> ClaimAnswer:
    """Return the answer to a claim that took so many jobs."""
    job = Claimed(
        id=JobId("1" * 32),
        queue="q",
        fence=Fence("f" * 32),
        lease=LEASE,
        spec=JobSpec(task="t", payload=msgspec.Raw(b"{}")),
        claim_number=1,
        claimed_at=1,
    )
    return msgspec.structs.replace(EMPTY, jobs=(job,) * count)


def with_feed(test: Callable[[Feed], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a loop, with a feed of two claims at once whose slots are all free."""

    async def main() -> None:
        feed = Feed(
            (SHARED,),
            ("q",),
            MemoryBroker(ManualClock()).listen(),
            slots=lambda: SLOTS,
            claimable=lambda: ((SHARED,), SLOTS),
            kick=lambda **_: None,
            claims_at_once=2,
        )
        await test(feed)
        feed.close()

    asyncio.run(main())


def test_two_claims_ask_for_no_more_than_is_free() -> None:
    """Each asks for its share; while both are under way there is room for none."""

    async def test(feed: Feed) -> None:
        one, other = feed.request(LEASE), feed.request(LEASE)
        assert (one.limit, other.limit, feed.room()) == (SHARE, SHARE, 0)
        assert one.fence != other.fence
        feed.answered(one, jobs(SHARE))
        # What was given up is free again.
        feed.answered(other, None)
        assert feed.room() == SHARE
        assert not feed.is_asking

    with_feed(test)


@pytest.mark.parametrize(
    ("first", "second", "is_hungry"),
    [
        (EMPTY, jobs(SHARE), True),
        (EMPTY, jobs(1), True),
        (jobs(SHARE), EMPTY, False),
        (EMPTY, EMPTY, False),
        (EMPTY, None, True),
    ],
)
def test_the_later_claim_decides_whether_there_is_more(
    first: ClaimAnswer,
    second: ClaimAnswer | None,
    is_hungry: bool,  # noqa: FBT001 - of pytest
) -> None:
    """It saw what the wake-up that was for the earlier one told of, unless it was given up."""

    async def test(feed: Feed) -> None:
        one = feed.request(LEASE)
        feed.wake()
        other = feed.request(LEASE)
        feed.answered(one, first)
        feed.answered(other, second)
        assert feed.is_sated != is_hungry
        assert bool(feed.room()) == is_hungry

    with_feed(test)


def test_a_wake_up_beside_two_claims_is_kept() -> None:
    """Neither of two empty answers says anything about what came after both were asked."""

    async def test(feed: Feed) -> None:
        both = feed.request(LEASE), feed.request(LEASE)
        feed.wake()
        for one in both:
            feed.answered(one, EMPTY)
        assert not feed.is_sated

    with_feed(test)


def test_a_closed_lease_is_told_by_the_last_answer() -> None:
    """A claim under the lease that was lost says nothing against the one under the new lease."""

    async def test(feed: Feed) -> None:
        old = feed.request(LEASE)
        feed.wake()
        new = feed.request(LeaseId("b" * 32))
        feed.answered(old, msgspec.structs.replace(EMPTY, lease_open=False))
        assert feed.is_cut_off
        feed.answered(new, jobs(1))
        assert (feed.is_cut_off, feed.is_sated) == (False, False)

    with_feed(test)
