"""reclaim: what ran out while nobody could have extended it is not taken yet."""

from __future__ import annotations

from penstock.core import settlement as s

from .cases import requires
from .harness import Capability
from .reaper import Reaper
from .scene import LEASE_MS, TICK_MS, Scene


def test_the_first_call_counts_as_a_gap(scene: Scene) -> None:
    """A store that no reaper has looked at holds for one full lease, to the millisecond."""
    scene.run(scene.put(), scene.lease())
    scene.harness.advance(LEASE_MS)
    reaper = Reaper(scene)
    assert reaper.tick().hold_ms == LEASE_MS
    reaper.look_for(LEASE_MS - 1)
    assert reaper.taken == []
    scene.harness.advance(1)
    answer = reaper.tick()
    assert (len(answer.jobs), answer.hold_ms) == (1, 0)


def test_after_a_gap_nothing_that_ran_out_is_taken(scene: Scene) -> None:
    """After an outage of four leases live workers extend, and lose nothing."""
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.harness.advance(4 * LEASE_MS)
    answer = reaper.tick()
    assert (answer.jobs, answer.closed, answer.hold_ms) == ((), (), LEASE_MS)
    reaper.look_for(LEASE_MS // 2)
    assert scene.broker.extend([lease], ttl_ms=LEASE_MS).lost == ()
    reaper.look_for(LEASE_MS - TICK_MS)
    assert reaper.taken == []
    assert scene.complete(job) is s.Applied.APPLIED


def test_a_hold_tells_how_long_it_lasts(scene: Scene) -> None:
    """The answer counts the hold down, and looking on does not lengthen it."""
    reaper = Reaper(scene).warm_up()
    scene.harness.advance(LEASE_MS)
    assert reaper.tick().hold_ms == LEASE_MS
    scene.harness.advance(TICK_MS)
    assert reaper.tick().hold_ms == LEASE_MS - TICK_MS
    reaper.look_for(LEASE_MS - TICK_MS)
    assert reaper.tick().hold_ms == 0


def test_a_gap_is_more_than_half_a_lease(scene: Scene) -> None:
    """Half a lease between two calls is no gap, a millisecond more is one."""
    reaper = Reaper(scene).warm_up()
    scene.harness.advance(LEASE_MS // 2)
    assert reaper.tick().hold_ms == 0
    scene.harness.advance(LEASE_MS // 2 + 1)
    assert reaper.tick().hold_ms == LEASE_MS


def test_another_reapers_calls_leave_no_gap(scene: Scene) -> None:
    """While any reaper looks, one that joins late holds for nobody."""
    first = Reaper(scene).warm_up()
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    first.look_for(LEASE_MS - 1)
    scene.harness.advance(1)
    second = Reaper(scene)
    answer = second.tick()
    assert answer.hold_ms == 0
    assert [taken.id for taken in answer.jobs] == [job.id]


def test_a_closed_lease_is_taken_within_a_hold(scene: Scene) -> None:
    """A hold is for leases that merely ran out; one that was closed has no owner to wait for."""
    reaper = Reaper(scene).warm_up()
    lease, silent = scene.lease(), scene.lease()
    job = scene.run(scene.put(), lease)
    scene.run(scene.put(), silent)
    scene.harness.advance(2 * LEASE_MS)
    scene.broker.close_leases([lease])
    answer = reaper.tick()
    assert answer.hold_ms == LEASE_MS
    assert [taken.id for taken in answer.jobs] == [job.id]


def test_a_wall_clock_that_jumps_takes_nothing(scene: Scene) -> None:
    """Leases, holds and gaps run by the lease clock: an hour more or less changes nothing."""
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    for step in (3_600_000, -7_200_000):
        scene.harness.step_wall(step)
        assert reaper.tick().hold_ms == 0
        reaper.look_for(TICK_MS)
    assert reaper.taken == []
    assert scene.complete(job) is s.Applied.APPLIED


@requires(Capability.BOOT_ID)
def test_a_lease_of_another_boot_runs_out_a_full_lease_after_it_was_seen(scene: Scene) -> None:
    """What the old boot left is taken one full lease after a reaper first saw it, not before."""
    Reaper(scene).warm_up()
    lease = scene.lease(ttl_ms=100 * LEASE_MS)
    job = scene.run(scene.put(), lease)
    scene.harness.reboot()
    reaper = Reaper(scene)
    reaper.tick()
    reaper.look_for(LEASE_MS - 1)
    assert reaper.taken == []
    scene.harness.advance(1)
    answer = reaper.tick()
    assert [taken.id for taken in answer.jobs] == [job.id]
    assert lease in answer.closed


@requires(Capability.BOOT_ID)
def test_a_lease_of_another_boot_is_held_after_a_gap_too(scene: Scene) -> None:
    """A gap after it was first seen gives it a full lease more, as it gives all others."""
    job = scene.run(scene.put(), scene.lease())
    scene.harness.reboot()
    reaper = Reaper(scene)
    reaper.tick()
    scene.harness.advance(4 * LEASE_MS)
    answer = reaper.tick()
    assert (answer.jobs, answer.closed, answer.hold_ms) == ((), (), LEASE_MS)
    reaper.look_for(LEASE_MS)
    assert [taken.id for taken in reaper.taken] == [job.id]


@requires(Capability.BOOT_ID)
def test_a_lease_of_another_boot_stays_shut_when_it_was_seen(scene: Scene) -> None:
    """That a reaper saw it opens it for no claim: only its owner's extend does."""
    scene.put()
    lease = scene.lease()
    scene.harness.reboot()
    Reaper(scene).tick()
    assert not scene.broker.claim(scene.request(lease)).lease_open
    scene.broker.extend([lease], ttl_ms=LEASE_MS)
    assert len(scene.claim(lease)) == 1


@requires(Capability.BOOT_ID)
def test_a_lease_of_another_boot_that_is_extended_lives(scene: Scene) -> None:
    """Whoever extends a lease of another boot is alive: it runs by this boot's clock from now."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.harness.reboot()
    assert scene.broker.extend([lease], ttl_ms=3 * LEASE_MS).lost == ()
    reaper = Reaper(scene)
    reaper.tick()
    reaper.look_for(2 * LEASE_MS)
    assert reaper.taken == []
    assert scene.complete(job) is s.Applied.APPLIED


@requires(Capability.BOOT_ID)
def test_a_closed_lease_of_another_boot_is_taken_at_once(scene: Scene) -> None:
    """Closed is closed, under whichever boot."""
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    scene.broker.close_leases([lease])
    scene.harness.reboot()
    assert [taken.id for taken in Reaper(scene).tick().jobs] == [job.id]


@requires(Capability.BOOT_ID)
def test_leases_of_this_boot_do_not_wait_for_those_of_another(scene: Scene) -> None:
    """After the grace of a new boot its own leases run out when they run out."""
    scene.lease(ttl_ms=100 * LEASE_MS)
    scene.harness.reboot()
    reaper = Reaper(scene).warm_up()
    lease = scene.lease()
    job = scene.run(scene.put(), lease)
    reaper.look_for(LEASE_MS)
    assert [taken.id for taken in reaper.taken] == [job.id]
