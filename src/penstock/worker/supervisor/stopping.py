"""Whether the worker goes on: signals, and the phases of its end.

SIGTERM, SIGINT, SIGHUP    drain; a second one releases everything at once. While the worker drains
                           to begin anew, the first means that it is to end instead
SIGTSTP                    quiet: claim nothing, let running jobs go on
SIGCONT                    claim again

Source: TSTP for quiet is Sidekiq's; there it cannot be undone.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Final

from penstock.worker.pulse import Bell

_log = logging.getLogger("penstock.worker")

#: Signals that ask the worker to end.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Those that wait from one worker to the next in its process.
_HELD_SIGNALS: Final = (*STOP_SIGNALS, signal.SIGTSTP)
#: Rounds of the loop from a signal to its handler.
_SIGNAL_ROUNDS: Final = 3


class Stopping:
    """Asked to drain, to release, or to be quiet.

    Attributes:
        drain: set at the first request to end; for good.
        release: set at the second.
        begins_anew: it drains by its own will, and another worker follows in its process.
        gave_up: the worker ends because its broker does not answer.
        is_quiet: nothing is claimed.
        quiet_changed: rung when `is_quiet` changes.
    """

    def __init__(self) -> None:
        """Go on, until told otherwise."""
        self.drain = asyncio.Event()
        self.release = asyncio.Event()
        self.begins_anew = False
        self.gave_up = False
        self.is_quiet = False
        self.quiet_changed = Bell()

    @property
    def is_shut(self) -> bool:
        """Whether nothing is to be claimed: the worker is quiet, or ends."""
        return self.is_quiet or self.drain.is_set()

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the signals, and let in those that arrived while the process started.

        Whoever starts a worker may block them before, so that none falls into the time in which
        the interpreter would still die of it (`launch.py`).
        """
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.request, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGTSTP, self.set_quiet, True)  # noqa: FBT003
        loop.add_signal_handler(signal.SIGCONT, self.set_quiet, False)  # noqa: FBT003
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_SIGNALS)

    def request(self, cause: str) -> None:
        """End: drain the first time, release everything the second time."""
        if not self.drain.is_set():
            _log.info("%s: draining; once more releases all jobs at once", cause)
            self.drain.set()
        elif self.begins_anew:
            _log.info("%s: ending once drained; once more releases all jobs at once", cause)
            self.begins_anew = False
        elif not self.release.is_set():
            _log.warning("%s again: releasing all jobs now", cause)
            self.release.set()

    def finish(self, cause: str) -> None:
        """Drain by the worker's own will; nobody signalled, so nothing can come once more."""
        if not self.drain.is_set():
            _log.info("%s", cause)
            self.drain.set()

    def begin_anew(self, cause: str) -> None:
        """Drain by the worker's own will, and begin anew in the same process."""
        if not self.drain.is_set():
            _log.warning("%s: draining, to begin anew", cause)
            self.begins_anew = True
            self.drain.set()

    async def hold(self) -> None:
        """Let no further signal in: what comes from now on waits for the worker that follows.

        Race: one that came just before is on its way through the loop, which reads, schedules and
        calls in three rounds; after this `begins_anew` is final.
        """
        # Only the main thread blocks, and any other one would take the signal in its place.
        await asyncio.get_running_loop().shutdown_default_executor()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_SIGNALS)
        if self.is_quiet:
            # Taken by the worker that follows: it is to be quiet as well, until SIGCONT.
            signal.raise_signal(signal.SIGTSTP)
        for _ in range(_SIGNAL_ROUNDS):
            await asyncio.sleep(0)

    def set_quiet(self, is_quiet: bool) -> None:  # noqa: FBT001 - called by the event loop
        """Stop claiming, or go on."""
        if is_quiet != self.is_quiet:
            _log.info("quiet: nothing is claimed" if is_quiet else "claiming again")
            self.is_quiet = is_quiet
            self.quiet_changed.ring()
