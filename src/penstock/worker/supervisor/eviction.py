"""Killing a shared runner for one of its attempts, with as little harm to the others as can be.

Another runner is started first. The old one is drained, so that the culprit's neighbours may finish
within a grace; what is left then is killed with it: the culprit gets its outcome, the neighbours
are released uncharged.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from penstock.core.ids import AttemptKey
from penstock.core.outcome import Outcome
from penstock.worker.wire import BEAT_MS

from .crew import Crew
from .runner_process import End, Phase, RunnerProcess
from .runners import Runners

_log = logging.getLogger("penstock.worker")

#: Milliseconds that a culprit's neighbours are given. A few seconds finish most light jobs; longer
#: would let the culprit, which is past its limit, go on for longer.
NEIGHBOUR_GRACE_MS: Final = 3_000
#: Milliseconds of silence after which the neighbours cannot make progress either: one beat missed.
_SILENT_MS: Final = 2 * BEAT_MS
#: Seconds between two looks at an evicted runner that says nothing.
_LOOK_S: Final = 0.05


class Evictions:
    """Ends attempts that did not end by themselves."""

    def __init__(self, runners: Runners, crew: Crew) -> None:
        """Evict in tasks of `crew`."""
        self._runners = runners
        self._crew = crew

    def evict(self, runner: RunnerProcess, attempt: AttemptKey, outcome: Outcome) -> None:
        """Kill `runner` for `attempt`, which gets `outcome`. A second culprit joins the first."""
        is_first = not runner.culprits
        runner.culprits.setdefault(attempt, outcome)
        if is_first and runner.phase is not Phase.ENDED:
            self._crew.send(f"evicting runner {runner.pid}", self._evict(runner))

    async def _evict(self, runner: RunnerProcess) -> None:
        attempt = next(iter(runner.culprits))
        _log.warning(
            "runner %d is replaced: its job %s does not end (%d attempts run beside it)",
            runner.pid,
            attempt[0],
            max(0, runner.running - len(runner.culprits)),
        )
        if runner.is_serving and self._runners.is_wanted:
            await self._runners.start()
        runner.drain(NEIGHBOUR_GRACE_MS, except_job=attempt[0])
        loop = asyncio.get_running_loop()
        end_s = loop.time() + NEIGHBOUR_GRACE_MS / 1000
        while loop.time() < end_s and not _is_alone(runner):
            await runner.news.sleep(_LOOK_S)
        runner.kill(End.EVICTED)


def _is_alone(runner: RunnerProcess) -> bool:
    """Tell whether nothing is left but culprits, or whatever is left cannot go on beside them."""
    return (
        runner.phase is Phase.ENDED
        or runner.is_drained
        or runner.running <= len(runner.culprits)
        or runner.silent_ms >= _SILENT_MS
    )
