"""Watches what the attempts in children take, and ends those that pass their limit.

The nearer a limit, the more often its attempt is looked at: as fast as a job could touch memory
from here to there. Where the kernel enforces the limit as well, this finds less to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from penstock.executors.memory import descendants, group_bytes
from penstock.worker.pulse import Bell

from .lone_attempt import LoneAttempt

_log = logging.getLogger("penstock.worker")

#: Bytes that one process can touch in a second: zeroing pages goes at 1 to 4 GiB/s on the machines
#: of today.
_TOUCH_BYTES_S: Final = 4 * 2**30
#: Seconds between two looks at one attempt: at least, since a look costs some 100 us, and at most.
_LOOK_LEAST_S: Final = 0.005
_LOOK_MOST_S: Final = 0.1


class MemoryWatch:
    """Looks at attempts in turn.

    Args:
        attempts: returns those under way.

    Attributes:
        bell: rung when an attempt begins.
    """

    def __init__(self, attempts: Callable[[], Iterable[LoneAttempt]]) -> None:
        self._attempts = attempts
        self.bell = Bell()

    async def run(self) -> None:
        """Watch, for ever; sleeps while nothing runs in a child."""
        while True:
            wait_s = self.look()
            if wait_s is None:
                await self.bell.sleep()
            else:
                await asyncio.sleep(wait_s)

    def look(self) -> float | None:
        """Look at every attempt once; return the seconds to the next look, None: nothing runs."""
        # Race: an attempt whose child is being made begins later, and rings no bell then.
        waits = [
            _LOOK_MOST_S if one.child is None or one.grant is None else self._look_at(one)
            for one in list(self._attempts())
        ]
        return min(waits, default=None)

    def _look_at(self, attempt: LoneAttempt) -> float:
        child, grant = attempt.child, attempt.grant
        assert child is not None  # noqa: S101 - who calls this
        assert grant is not None  # noqa: S101 - the same
        group = child.group
        held = group_bytes(descendants(child.pid)) if group is None else group.look()
        attempt.saw(held)
        if grant.limit_bytes is None:
            return _LOOK_MOST_S
        # The kernel may have killed one of several processes only; the rest goes with it.
        if held > grant.limit_bytes or (group is not None and group.kills):
            attempt.exceed(held)
            return _LOOK_MOST_S
        left_s = (grant.limit_bytes - held) / _TOUCH_BYTES_S
        return min(_LOOK_MOST_S, max(_LOOK_LEAST_S, left_s))
