"""How many jobs of a queue may be claimed, out of what runs and what is asked for."""

from __future__ import annotations

from penstock.broker.requests import ClaimRequest, Offer
from penstock.core.ids import Fence, LeaseId
from penstock.worker.queue_room import QueueRoom, shares


def claim(*offers: Offer, limit: int = 10) -> ClaimRequest:
    """Return a claim with these offers."""
    return ClaimRequest(lease=LeaseId("l"), offers=offers, limit=limit, fence=Fence("f"))


def room(running: str = "", *claims: ClaimRequest | None, queues: str = "abc") -> QueueRoom:
    """Return the room where a may have 2 jobs, b 1 and c any; `running` has a letter for each."""
    return QueueRoom(
        queues, {"a": 2, "b": 1, "x": 0}, running=lambda: running, claims=lambda: claims
    )


def offered(found: QueueRoom, *offers: Offer) -> dict[str, int | None]:
    """Return queue -> limit of what is left of a claim's offers."""
    return {one.queue: one.limit for one in found.limited(claim(*offers)).offers}


ALL = (Offer("a", ("shared",)), Offer("b", ("shared",)), Offer("c", ("shared",)))


def test_a_claim_brings_no_more_than_is_left() -> None:
    """What runs is taken off; a queue that is full is not offered; others are left as they are."""
    assert offered(room(), *ALL) == {"a": 2, "b": 1, "c": None}
    assert offered(room("a"), *ALL) == {"a": 1, "b": 1, "c": None}
    assert offered(room("aabccc"), *ALL) == {"c": None}
    assert offered(room("aaaa"), *ALL) == {"b": 1, "c": None}


def test_what_a_claim_may_bring_is_taken_off() -> None:
    """Claims under way count by the limit of the offer, or of the whole claim."""
    asked = claim(Offer("a", ("shared",), 1), Offer("b", ("shared",)))
    assert offered(room("", asked, None), *ALL) == {"a": 1, "c": None}
    assert offered(room("", claim(*ALL, limit=1)), *ALL) == {"a": 1, "c": None}


def test_an_offer_that_only_leaves_a_token_stays_one() -> None:
    """A limit of 0 takes nothing, and is not raised to what is left."""
    assert offered(room(), Offer("a", ("alone",), 0)) == {"a": 0}


def test_full_queues_are_known() -> None:
    """A queue is open while it has room; one without a limit, or that nobody limits, always is."""
    assert [room("ab").is_open(queue) for queue in "abc"] == [True, False, True]
    assert room("aab").is_open()
    assert not room("aab", queues="ab").is_open()
    assert QueueRoom().is_open()
    assert QueueRoom(["a"]).is_open()
    assert QueueRoom(["c"], {"a": 1}).is_open()
    assert [room().concerns(queue) for queue in "acx"] == [True, False, False]


def test_runners_share_a_limit_out() -> None:
    """Together they have no more than the limit, but each has one."""
    assert shares({"a": 8, "b": 5, "c": 1}, 2) == {"a": 4, "b": 2, "c": 1}
