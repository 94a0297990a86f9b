"""pause and resume: stop and start the claims of one queue."""

from __future__ import annotations

import pytest

from penstock.core.lifecycle import State
from penstock.errors import UsageError

from .scene import OTHER, QUEUE, Scene, complete


def test_a_pause_is_shown(scene: Scene) -> None:
    """The counters say which queue is paused, on every handle."""
    scene.broker.pause(QUEUE)
    counted = {counts.queue: counts.paused for counts in scene.harness.open().counts()}
    assert counted == {QUEUE: True, OTHER: False}
    scene.harness.open().resume(QUEUE)
    assert not scene.counts().paused


def test_a_paused_queue_goes_on_otherwise(scene: Scene) -> None:
    """Jobs come in, become due, expire and are settled; only claims stop."""
    running = scene.run(scene.put())
    scene.broker.pause(QUEUE)
    due, late = scene.put(delay_ms=1), scene.put(expires_ms=1)
    scene.harness.advance(1)
    assert scene.broker.promote([QUEUE], limit=10) == 1
    assert scene.broker.expire([QUEUE], limit=10) == 1
    assert scene.settle(complete(running)) == "applied"
    assert scene.states(due, late) == [State.QUEUED, State.EXPIRED]
    assert scene.claim(scene.lease()) == ()


def test_pausing_twice_is_pausing_once(scene: Scene) -> None:
    """One resume undoes any number of pauses, and a resume of a running queue does nothing."""
    scene.broker.resume(QUEUE)
    scene.broker.pause(QUEUE)
    scene.broker.pause(QUEUE)
    scene.broker.resume(QUEUE)
    job_id = scene.put()
    assert [job.id for job in scene.claim(scene.lease())] == [job_id]


def test_an_unknown_queue_is_refused(scene: Scene) -> None:
    """A misspelt name is an error and makes no queue."""
    for verb in (scene.broker.pause, scene.broker.resume):
        with pytest.raises(UsageError, match="misspelt"):
            verb("misspelt")
    assert "misspelt" not in {counted.queue for counted in scene.broker.counts()}
