"""The end of a worker: running work may finish within the grace, the rest is released.

Within the grace plus two seconds everything is settled or given up: what could not be written then
is taken over by the next worker once it sees this one dead. A broker that is away is waited for
only by jobs: where none runs or is unsettled, the worker ends without it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from .children import Children
from .parts import Parts
from .runner_process import End
from .runners import Runners

_log = logging.getLogger("penstock.worker")

#: Seconds that runners are given beyond the grace, or after a second signal, to interrupt what runs
#: and to release it; they take one second for the first part.
_TIDY_S: Final = 1.3
#: Seconds beyond the grace by which the worker has ended: the promise is two, the rest is spare.
_LAST_S: Final = 1.8
#: Seconds that a broker which is away keeps a worker that owes it nothing.
_AWAY_S: Final = 0.3
#: Seconds that the supervisor asks a broker which is away what became of its last claim.
_CLAIM_S: Final = 0.7


class Drain:
    """Ends runners and children in time."""

    def __init__(self, parts: Parts, runners: Runners, children: Children) -> None:
        """End these."""
        self._parts = parts
        self._runners = runners
        self._children = children

    async def run(self) -> bool:
        """Drain; return whether everything was settled in time."""
        grace_ms = self._parts.settings.drain_grace_ms
        for runner in self._runners.all:
            runner.drain(grace_ms)
        ending = asyncio.create_task(self._end_all(grace_ms))
        releasing = asyncio.create_task(self._wait_for_release())
        freed = asyncio.create_task(self._wait_until_nothing_is_owed())
        await asyncio.wait(
            {ending, releasing, freed},
            timeout=grace_ms / 1000 + _LAST_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if releasing.done():
            await asyncio.wait(
                {ending, freed}, timeout=_LAST_S, return_when=asyncio.FIRST_COMPLETED
            )
        releasing.cancel()
        freed.cancel()
        if ending.done():
            ending.result()
            return True
        ending.cancel()
        if freed.done():
            _log.info("nothing is left to settle: the worker ends without its broker")
            # What an unanswered claim may have taken is others' only once this process is dead.
            return self._children.is_at_rest or not self._parts.stopping.begins_anew
        _log.error(
            "the worker ends although %d runners and %d lone jobs are not accounted for: the "
            "broker did not answer in time; another worker takes their jobs over",
            len(self._runners.all),
            len(self._children.attempts),
        )
        return False

    async def _end_all(self, grace_ms: int) -> None:
        await asyncio.gather(self._end_runners(grace_ms), self._children.drain(grace_ms))

    async def _wait_for_release(self) -> None:
        await self._parts.stopping.release.wait()

    async def _wait_until_nothing_is_owed(self) -> None:
        """Return once the broker is away, no job runs, and none that ran is unsettled."""
        loop = asyncio.get_running_loop()
        began_s = since_s = loop.time()
        while loop.time() - since_s < _AWAY_S:
            await asyncio.sleep(_LOOK_S)
            may_have_claimed = not self._children.is_at_rest and loop.time() - began_s < _CLAIM_S
            if (
                self._parts.link.failing_since_ms is None
                or may_have_claimed
                or self._children.attempts
                or not all(runner.owes_nothing for runner in self._runners.all)
            ):
                since_s = loop.time()

    async def _end_runners(self, grace_ms: int) -> None:
        """Wait for the runners to drain, press them after the grace, kill them after that."""
        release = asyncio.create_task(self._parts.stopping.release.wait())
        loop = asyncio.get_running_loop()
        try:
            kill_s = loop.time() + grace_ms / 1000 + _TIDY_S
            is_pressed = False
            while self._runners.all:
                if release.done() and not is_pressed:
                    is_pressed = True
                    kill_s = min(kill_s, loop.time() + _TIDY_S)
                    for runner in self._runners.all:
                        runner.release()
                if loop.time() >= kill_s:
                    for runner in self._runners.all:
                        if runner.end is None:
                            _log.warning("runner %d did not drain and is killed", runner.pid)
                            runner.kill(End.STOPPED)
                await self._runners.ended_bell.sleep(_LOOK_S)
        finally:
            release.cancel()


#: Seconds between two looks at the runners of a draining worker.
_LOOK_S: Final = 0.05
