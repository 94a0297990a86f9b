"""Slots, cancels, offers and waits: the supervisor's pure decisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.broker.requests import OFFERS_MAX, CancelNotice, Offer
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import ALONE
from penstock.core.turn import TURN_MS, kept_slots
from penstock.executors.procfs import Holdings
from penstock.worker.pulse import RETRY_BASE_S, backoff_ms, retry_wait_s
from penstock.worker.supervisor.cancels import Cancels
from penstock.worker.supervisor.leftovers import has_piled_up
from penstock.worker.supervisor.offers import Offers
from penstock.worker.supervisor.slots import Slots


def test_a_slot_is_lent_only_once_it_is_yielded() -> None:
    """A child may not start on a runner's word alone to have been asked."""
    slots: Slots[str] = Slots(4)
    assert slots.join("runner") == 4
    assert slots.want(1) == [("runner", 3)]
    assert slots.free() == 0
    slots.yielded("runner", 3)
    assert slots.free() == 1
    slots.take()
    assert slots.free() == 0
    slots.give_back()
    assert slots.want(0) == [("runner", 4)]
    assert slots.free() == 0


def test_the_slot_of_an_ended_attempt_counts_as_free_for_its_successor() -> None:
    """What an attempt still holds may be claimed for by the call that settles it, and no more."""
    slots: Slots[str] = Slots(2)
    slots.want(2)
    slots.take()
    slots.take()
    assert (slots.free(), slots.free(1), slots.free(2)) == (0, 1, 2)
    slots.give_back()
    assert (slots.free(), slots.free(1)) == (1, 2)


def test_children_may_hold_every_slot() -> None:
    """A runner has the light lane beside them, so its last slot is lent as well."""
    slots: Slots[str] = Slots(2)
    slots.join("runner")
    assert slots.want(2) == [("runner", 0)]
    assert slots.free() == 0
    slots.yielded("runner", 0)
    assert slots.free() == 2


def test_a_slot_that_is_kept_goes_back_to_threads() -> None:
    """While plain jobs wait for a full slot, one that a child gives back is not lent again."""
    slots: Slots[str] = Slots(2)
    slots.join("runner")
    slots.want(2)
    slots.yielded("runner", 0)
    slots.take()
    slots.take()
    slots.kept = 1
    assert (slots.want(2), slots.free(1)) == ([], 0)
    slots.give_back()
    assert slots.want(2) == [("runner", 1)]
    slots.kept = 0
    assert slots.want(2) == [("runner", 0)]


@pytest.mark.parametrize(
    ("total", "threads_wait", "children_wait", "kept"),
    [
        (4, False, True, {0}),
        (4, True, True, {1}),
        (1, True, False, {1}),
        (1, True, True, {0, 1}),
    ],
)
def test_slots_are_kept_for_threads_that_wait(
    total: int,
    threads_wait: bool,  # noqa: FBT001 - of pytest
    children_wait: bool,  # noqa: FBT001 - of pytest
    kept: set[int],
) -> None:
    """One, as long as they wait; a worker of a single slot lends it in turns."""
    seen = {
        kept_slots(
            total=total, threads_wait=threads_wait, children_wait=children_wait, now_ms=now_ms
        )
        for now_ms in range(0, 4 * TURN_MS, TURN_MS // 2)
    }
    assert seen == kept


def test_a_runner_that_stands_still_does_not_hold_slots_back() -> None:
    """What it was asked for counts as yielded once it is known to stand still."""
    slots: Slots[str] = Slots(4)
    slots.join("runner")
    slots.want(2)
    slots.presume_yielded("runner")
    assert slots.free() == 2


def test_runners_share_what_children_do_not_hold() -> None:
    """Threads are split evenly, the first runners get the rest; a dead one's share moves on."""
    slots: Slots[str] = Slots(5)
    shares = [slots.join("a")]
    shares.append(slots.join("b"))
    assert (shares, slots.rebalance()) == ([5, 2], [("a", 3)])
    slots.leave("a")
    assert slots.rebalance() == [("b", 5)]


@given(
    total=st.integers(1, 8),
    steps=st.lists(st.tuples(st.sampled_from("jlwtgy"), st.integers(0, 8)), max_size=60),
)
def test_threads_and_children_never_pass_the_slots(
    total: int, steps: list[tuple[str, int]]
) -> None:
    """Whatever happens in whatever order: bounds plus children keep to the slots.

    The bound of a runner is what it may still be running: its old grant until it has yielded. Only
    new runners are beyond the count, whose first share overlaps with the old shares until those are
    yielded.
    """
    slots: Slots[int] = Slots(total)
    bounds: dict[int, int] = {}
    for number, (step, value) in enumerate(steps):
        grants: list[tuple[int, int]] = []
        match step:
            case "j" if len(bounds) < 3:
                bounds[number] = slots.join(number)
                grants = slots.rebalance()
            case "l" if bounds:
                gone = sorted(bounds)[value % len(bounds)]
                del bounds[gone]
                slots.leave(gone)
                grants = slots.rebalance()
            case "w":
                grants = slots.want(value)
            case "t" if slots.free():
                threads = sum(bounds.values())
                assert slots.children < total
                assert threads + slots.children + 1 <= total
                slots.take()
            case "g" if slots.children:
                slots.give_back()
            case "y":
                bounds = {runner: slots._granted[runner] for runner in bounds}
                for runner, threads in bounds.items():
                    slots.yielded(runner, threads)
        for runner, threads in grants:
            bounds[runner] = max(bounds[runner], threads)
        assert sum(slots._granted.values()) <= total


def notice(number: int) -> CancelNotice:
    """Return a notice of one job."""
    return CancelNotice(JobId(f"{number:032x}"), Fence("f" * 32), LeaseId("e" * 32))


def test_a_cancel_is_delivered_once_and_overdue_once() -> None:
    """The broker tells a cancel again and again; the attempt is told once, and pressed once."""
    cancels = Cancels(grace_ms=1_000)
    assert cancels.told([notice(1)], 0) == ((notice(1),), ())
    assert cancels.told([notice(1)], 900) == ((), ())
    assert cancels.told([notice(1)], 1_000) == ((), (notice(1),))
    assert cancels.told([notice(1)], 9_000) == ((), ())


def test_a_cancel_that_was_obeyed_is_forgotten() -> None:
    """What is not told any more has ended; were it told anew, it would be a new cancel."""
    cancels = Cancels(grace_ms=1_000)
    cancels.told([notice(1), notice(2)], 0)
    assert cancels.told([notice(2)], 500) == ((), ())
    assert cancels.told([notice(1), notice(2)], 1_200) == ((notice(1),), (notice(2),))


def test_an_outage_does_not_make_cancels_overdue() -> None:
    """An attempt that has ended shows it only once its runner has tried again, within 5 s."""
    cancels = Cancels(grace_ms=1_000)
    cancels.told([notice(1)], 0)
    cancels.restart(5_000)
    assert cancels.told([notice(1)], 5_100) == ((), ())
    assert cancels.told([notice(1)], 10_999) == ((), ())
    assert cancels.told([notice(1)], 11_000) == ((), (notice(1),))


def test_the_next_look_is_soon_after_the_grace() -> None:
    """Between delivery and the end of the grace there is nothing to look for."""
    cancels = Cancels(grace_ms=1_000)
    assert cancels.look_again_in_ms(0) is None
    cancels.told([notice(1)], 0)
    assert cancels.look_again_in_ms(400) == 700
    cancels.told([notice(1)], 1_000)
    assert cancels.look_again_in_ms(1_000) is None


def test_offers_name_lone_sets_of_served_queues() -> None:
    """Light sets and queues of others are not offered."""
    offers = Offers(("a", "b"))
    found = {"a": ("shared", "alone"), "b": ("alone.m3", "thread"), "c": ("alone",)}
    assert offers.learn(found)
    assert offers.of(offers.sets) == (Offer("a", ("alone",)), Offer("b", ("alone.m3",)))
    assert offers.only_lone == {"c"}
    assert not offers.learn({"a": ("shared",)})
    assert offers.only_lone == frozenset()


def test_more_sets_than_a_claim_may_offer_are_offered_in_turn() -> None:
    """Every set has its turn within as few claims as can be, and no claim offers too many."""
    queues = tuple(f"q{number}" for number in range(OFFERS_MAX + 10))
    offers = Offers(queues)
    offers.learn(dict.fromkeys(queues, (ALONE,)))
    first, second = offers.of(offers.sets), offers.of(offers.sets)
    assert len(first) == len(second) == OFFERS_MAX
    assert {offer.queue for offer in first + second} == set(queues)


def test_wake_ups_are_asked_for_without_taking_anything() -> None:
    """By one set of each queue, which stands for all whose jobs run in children, with limit 0."""
    offers = Offers(("a", "b"))
    offers.learn({"a": ("alone.m3",)})
    assert offers.to_be_woken() == (Offer("a", ("alone",), 0), Offer("b", ("alone",), 0))
    many = Offers([f"q{number}" for number in range(OFFERS_MAX + 1)])
    assert len(many.to_be_woken()) == OFFERS_MAX


def test_a_child_makes_way_for_what_it_holds() -> None:
    """Memory or open files far above those at its start; what cannot be seen counts as too much."""
    start = Holdings(resident_bytes=50 * 2**20, descriptors=10)
    same = Holdings(resident_bytes=110 * 2**20, descriptors=130)
    assert not has_piled_up(start, same)
    assert has_piled_up(start, same._replace(resident_bytes=115 * 2**20))
    assert has_piled_up(start, same._replace(descriptors=139))
    assert has_piled_up(None, same)
    assert has_piled_up(start, None)


def test_processes_that_fail_are_started_again_ever_later() -> None:
    """A tenth of a second at first, twice as long each time, half a minute at most."""
    waits = [backoff_ms(failures) for failures in range(1, 12)]
    assert waits[:4] == [100, 200, 400, 800]
    assert waits[-2:] == [30_000, 30_000]
    assert backoff_ms(10**9) == 30_000


@given(failures=st.integers(1, 10**6), cap_s=st.floats(0.2, 60))
def test_calls_that_fail_are_made_again_at_random_within_bounds(
    failures: int, cap_s: float
) -> None:
    """Never at once, never later than the cap, nor than the doubled base."""
    wait_s = retry_wait_s(failures, cap_s=cap_s)
    assert RETRY_BASE_S / 2 <= wait_s <= cap_s
    if failures == 1:
        assert wait_s <= RETRY_BASE_S
