"""The beat: a thread that tells the supervisor, once a second, that the interpreter runs.

It needs the interpreter, and nothing of the event loop: a loop that user code blocks is told as
lag, an interpreter that user code holds is told by silence.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final

from penstock.worker.pipe import Pipe
from penstock.worker.runner.desk import Desk
from penstock.worker.runner.pump import Pump
from penstock.worker.wire import BEAT_MS, Beat, ToRunner

_SECOND_MS: Final = 1_000


class Heart:
    """Beats from its own thread until the process ends.

    Args:
        pipe: to the supervisor.
        loop: whose lag is measured.
    """

    def __init__(self, pipe: Pipe[ToRunner], loop: asyncio.AbstractEventLoop) -> None:
        self._pipe = pipe
        self._loop = loop
        self._desk: Desk | None = None
        self._pump: Pump | None = None
        self._posted_at: float | None = None
        self._lag_s = 0.0

    def start(self) -> None:
        """Begin to beat."""
        threading.Thread(target=self._beat, name="penstock-beat", daemon=True).start()

    def tell_of(self, desk: Desk, pump: Pump) -> None:
        """Tell of these from now on."""
        self._desk, self._pump = desk, pump

    def _beat(self) -> None:
        while True:
            self._pipe.send(self._words(), optional=True)
            if self._posted_at is None:
                self._posted_at = time.monotonic()
                try:
                    self._loop.call_soon_threadsafe(self._reach_loop)
                except RuntimeError:  # The loop is closed: the process ends.
                    return
            time.sleep(BEAT_MS / 1000)

    def _reach_loop(self) -> None:
        if self._posted_at is not None:
            self._lag_s = time.monotonic() - self._posted_at
            self._posted_at = None

    def _words(self) -> Beat:
        now = time.monotonic()
        posted_at, desk, pump = self._posted_at, self._desk, self._pump
        # A probe that has not been answered yet says more than the last one that was.
        lag_s = self._lag_s if posted_at is None else max(self._lag_s, now - posted_at)
        if desk is None or pump is None:
            return Beat(0, 0, 0, loop_lag_ms=round(lag_s * _SECOND_MS), claim_age_ms=0)
        return Beat(
            # What has ended and is not settled counts: who kills now would lose it.
            running=len(desk.running) + pump.unsettled,
            settled=desk.settled,
            failed=desk.failed,
            loop_lag_ms=round(lag_s * _SECOND_MS),
            claim_age_ms=round((now - pump.moved_at) * _SECOND_MS),
        )
