"""listen: who sleeps is woken when there is something to do, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

from penstock.broker import requests as r
from penstock.broker.protocol import Listener
from penstock.core.job import ALONE, SHARED

from .cases import requires
from .harness import Capability
from .scene import DEADLINE_S, OTHER, QUEUE, Scene, complete, release, retry, snooze

#: Seconds for which nobody is woken who is not to be: a word of a server travels for less than one
#: millisecond, and on a busy machine for some.
ASLEEP_S = 0.1


def sleeper(scene: Scene, *offers: r.Offer) -> Listener:
    """Return a listener that left its token by an idle claim (of `QUEUE`'s shared set)."""
    listener = scene.broker.listen()
    request = scene.request(scene.lease(), *offers, wake_token=listener.token)
    assert scene.broker.claim(request).jobs == ()
    assert not listener.drain()
    return listener


@requires(Capability.WAKE)
def test_an_enqueue_wakes_a_sleeper(scene: Scene) -> None:
    """On whichever handle the job comes in, the wake-up is there, once."""
    with closing(sleeper(scene)) as listener:
        scene.broker = scene.harness.open()
        scene.put()
        assert listener.wait(DEADLINE_S)
        assert not listener.wait(ASLEEP_S)


@requires(Capability.WAKE)
def test_a_wake_up_is_readable(scene: Scene) -> None:
    """An event loop can wait for the descriptor, if there is one; draining makes it silent."""
    with closing(sleeper(scene)) as listener:
        assert listener.fileno() >= -1
        scene.put()
        assert listener.wait(DEADLINE_S)
        assert not listener.wait(0)


@requires(Capability.WAKE)
def test_a_waiting_thread_is_woken(scene: Scene) -> None:
    """A thread that blocks in `wait` goes on when a job comes."""
    with closing(sleeper(scene)) as listener:
        woken: list[bool] = []
        thread = threading.Thread(target=lambda: woken.append(listener.wait(DEADLINE_S)))
        thread.start()
        scene.put()
        thread.join(DEADLINE_S)
        assert woken == [True]


@requires(Capability.WAKE)
def test_whatever_makes_a_job_claimable_wakes(scene: Scene) -> None:
    """Promote, release, unblock, requeue and resume wake as an enqueue does."""
    lease = scene.lease()
    released, parent = scene.run(scene.put(), lease), scene.run(scene.put(), lease)
    scene.put(after=(parent.id,))
    dead = scene.run(scene.put(), lease)
    scene.bury(dead)
    scene.put(delay_ms=10)

    def promote() -> None:
        scene.harness.advance(10)
        scene.broker.promote([QUEUE], limit=9)

    steps: dict[str, Callable[[], object]] = {
        "promote": promote,
        "release": lambda: scene.settle(release(released)),
        "unblock": lambda: scene.complete(parent),
        "requeue": lambda: scene.broker.requeue([dead.id]),
    }
    for name, step in steps.items():
        with closing(sleeper(scene)) as listener:
            step()
            assert listener.wait(DEADLINE_S), name
            scene.broker.settle([complete(job) for job in scene.claim(lease)])


@requires(Capability.WAKE)
def test_a_cycle_wakes_for_what_it_leaves(scene: Scene) -> None:
    """What a cycle makes claimable and does not take itself wakes a sleeper."""
    lease = scene.lease()
    parent = scene.run(scene.put(), lease)
    scene.put(OTHER, after=(parent.id,))
    with closing(sleeper(scene, r.Offer(OTHER, (SHARED,)))) as listener:
        scene.broker.cycle([complete(parent)], scene.request(lease))
        assert listener.wait(DEADLINE_S)


@requires(Capability.WAKE)
def test_a_resume_wakes(scene: Scene) -> None:
    """A paused queue wakes nobody; resumed, it wakes for what waits in it."""
    scene.broker.pause(QUEUE)
    with closing(sleeper(scene)) as listener:
        scene.put()
        assert not listener.wait(ASLEEP_S)
        scene.broker.resume(QUEUE)
        assert listener.wait(DEADLINE_S)


@requires(Capability.WAKE)
def test_what_is_not_claimable_wakes_nobody(scene: Scene) -> None:
    """Delayed and blocked jobs, retries, snoozes and ends let sleepers sleep."""
    lease = scene.lease()
    first, second, third = (scene.run(scene.put(), lease) for _ in range(3))
    with closing(sleeper(scene)) as listener:
        delayed = scene.put(delay_ms=5_000)
        scene.put(after=(delayed,))
        scene.settle(retry(first))
        scene.settle(snooze(second))
        scene.bury(third)
        assert not listener.wait(ASLEEP_S)


@requires(Capability.WAKE)
def test_only_what_it_can_take_wakes(scene: Scene) -> None:
    """A job of another need or queue passes a sleeper by, and wakes the one who can take it."""
    shared = sleeper(scene)
    alone = sleeper(scene, r.Offer(QUEUE, (ALONE,)))
    other = sleeper(scene, r.Offer(OTHER, (SHARED,)))
    with closing(shared), closing(alone), closing(other):
        scene.put(need=ALONE)
        assert alone.wait(DEADLINE_S)
        scene.put(OTHER)
        assert other.wait(DEADLINE_S)
        assert not shared.wait(ASLEEP_S)


@requires(Capability.WAKE)
def test_any_lone_job_wakes_who_sleeps_for_lone_jobs(scene: Scene) -> None:
    """Whoever runs children is woken by sets that it never heard of, once for each job."""
    needs = ("alone.m12", "alone.auto.0123456789ab.s41", "takes.c1500.leu:alone.m3")
    for need in needs:
        with closing(sleeper(scene, r.Offer(QUEUE, (ALONE,), 0))) as listener:
            first, second = scene.put(need=need), scene.put(need=need)
            assert listener.wait(DEADLINE_S), need
            assert not listener.wait(0), need
            scene.broker.cancel([first, second])


@requires(Capability.WAKE)
def test_a_sleeper_waits_at_every_set_it_offered(scene: Scene) -> None:
    """Whichever of its sets gets a job, of whichever queue, the sleeper is woken."""
    offers = (r.Offer(QUEUE, (SHARED, ALONE)), r.Offer(OTHER, ("alone.m4",)))
    for queue, need in ((QUEUE, SHARED), (QUEUE, ALONE), (OTHER, "alone.m4")):
        with closing(sleeper(scene, *offers)) as listener:
            job_id = scene.put(queue, need=need)
            assert listener.wait(DEADLINE_S), (queue, need)
            scene.broker.cancel([job_id])


@requires(Capability.WAKE)
def test_as_many_are_woken_as_can_be_fed(scene: Scene) -> None:
    """Two jobs wake two of three sleepers, those who have slept longest."""
    listeners = [sleeper(scene) for _ in range(3)]
    scene.put_many(2)
    assert [listener.wait(DEADLINE_S) for listener in listeners[:2]] == [True, True]
    assert not listeners[2].wait(ASLEEP_S)
    for listener in listeners:
        listener.close()


@requires(Capability.WAKE)
def test_a_wake_up_uses_the_token_up(scene: Scene) -> None:
    """Who was woken is not woken again before it has slept again."""
    with closing(sleeper(scene)) as listener:
        scene.put()
        assert listener.wait(DEADLINE_S)
        scene.put()
        assert not listener.wait(ASLEEP_S)
        scene.broker.settle([complete(job) for job in scene.claim(scene.lease())])
        scene.broker.claim(scene.request(scene.lease(), wake_token=listener.token))
        scene.put()
        assert listener.wait(DEADLINE_S)


@requires(Capability.WAKE)
def test_who_got_a_job_leaves_no_token(scene: Scene) -> None:
    """A claim that took something will claim again by itself."""
    scene.put()
    with closing(scene.broker.listen()) as listener:
        request = scene.request(scene.lease(), wake_token=listener.token)
        assert len(scene.broker.claim(request).jobs) == 1
        scene.put()
        assert not listener.wait(ASLEEP_S)


@requires(Capability.WAKE)
def test_who_has_no_lease_leaves_no_token(scene: Scene) -> None:
    """A claim under a lease that is not open sleeps nowhere."""
    with closing(scene.broker.listen()) as listener:
        scene.broker.claim(scene.request(scene.new_lease_id(), wake_token=listener.token))
        scene.put()
        assert not listener.wait(ASLEEP_S)


@requires(Capability.WAKE)
def test_the_dead_take_no_wake_up_from_the_living(scene: Scene) -> None:
    """A token whose listener is closed is passed over, for the next who sleeps."""
    gone, living = sleeper(scene), sleeper(scene)
    gone.close()
    with closing(living):
        scene.put()
        assert living.wait(DEADLINE_S)


@requires(Capability.WAKE)
def test_a_requested_cancel_wakes_the_worker(scene: Scene) -> None:
    """A cancel of a running job nudges the listener of its lease, and no other's."""
    mine, other = scene.broker.listen(), scene.broker.listen()
    with closing(mine), closing(other):
        lease = scene.lease(wake_token=mine.token)
        scene.lease(wake_token=other.token)
        job = scene.run(scene.put(), lease)
        scene.broker.cancel([job.id])
        assert mine.wait(DEADLINE_S)
        assert not other.wait(ASLEEP_S)
