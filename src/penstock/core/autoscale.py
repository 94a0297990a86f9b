"""How many workers a backlog asks for. Pure: a decision from counted facts.

Up at once, but at most to twice as many; down by one, and only after the backlog has asked for
fewer at several looks in a row. So a burst is met soon, and a backlog that swings about a bound
starts and stops nobody.

Source: the asymmetry, and the wait before a step down, are those of Kubernetes' horizontal
autoscaler, whose scale-down waits out a stabilization window; the shares per worker are KEDA's.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Looks in a row at which fewer workers must do before one is stopped; at one in five seconds, half
#: a minute.
CALM_LOOKS: Final = 6


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one kind of worker, and what it runs.

    Attributes:
        queued: jobs that could be claimed now.
        queued_bytes: what they would reserve together, as far as it is known.
        running: jobs of the same queues that run.
    """

    queued: int = 0
    queued_bytes: int = 0
    running: int = 0


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """Within what, and by what, one kind of worker is scaled.

    Attributes:
        least: workers that always run.
        most: that may run.
        jobs_per_worker: jobs that may wait for each.
        bytes_per_worker: that each can reserve; 0: not known, bytes ask for nobody.
        slots: jobs that each runs at a time; 0: not known.
    """

    least: int
    most: int
    jobs_per_worker: int
    bytes_per_worker: int = 0
    slots: int = 0


class ScaleState(msgspec.Struct, frozen=True):
    """What is remembered from look to look.

    Attributes:
        count: workers that there should be.
        calm: looks in a row at which fewer would have done.
    """

    count: int
    calm: int = 0


def asked_for(backlog: Backlog, scale: Scale) -> int:
    """Return how many workers a backlog asks for, within the bounds.

    The largest of three: so many that no more than `jobs_per_worker` jobs wait for each; that all
    that waits could be reserved at once; and that what runs already has its slots.
    """
    jobs = _shares(backlog.queued, scale.jobs_per_worker)
    size = _shares(backlog.queued_bytes, scale.bytes_per_worker)
    held = _shares(backlog.running, scale.slots) if scale.slots else min(1, backlog.running)
    return max(scale.least, min(scale.most, max(jobs, size, held)))


def next_state(state: ScaleState, backlog: Backlog, scale: Scale) -> ScaleState:
    """Return how many workers there should be from now on."""
    asked = asked_for(backlog, scale)
    if asked > state.count:
        return ScaleState(min(asked, max(1, 2 * state.count)))
    if asked == state.count:
        return ScaleState(state.count)
    if state.calm + 1 < CALM_LOOKS:
        return ScaleState(state.count, state.calm + 1)
    return ScaleState(state.count - 1)


def _shares(whole: int, part: int) -> int:
    """Return how many parts a whole has, the last one cut off; 0 where there is no part."""
    return -(-whole // part) if part else 0
