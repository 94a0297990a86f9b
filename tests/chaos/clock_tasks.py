"""Tasks whose time to run is decided by a clock, for the scenario that sets clocks."""

from __future__ import annotations

import time
from pathlib import Path

from penstock import Exponential, current_job, library_task
from tests.chaos.tasks import AskedToFail, Report
from tests.support.attempt_log import logged

#: Seconds between the end of a failed attempt and the next one; without jitter, so that one which
#: comes early shows.
BACKOFF_S = 1.0


@library_task(backoff=Exponential(base=BACKOFF_S, cap=BACKOFF_S, jitter="none"))
def fail_once() -> Report:
    """Fail in the first run, have one effect in the second."""
    with logged() as log:
        if log.attempt == 1:
            raise AskedToFail("asked to fail once")
        log.effect()
        return log.result()


@library_task(key_window="30m")
def once_in_half_an_hour() -> Report:
    """Have one effect; two calls with the same key within half an hour are one job."""
    with logged() as log:
        log.effect()
        return log.result()


@library_task
def hold_once(folder: str) -> Report:
    """Wait in the first run for a file named like the job, and have one effect."""
    with logged() as log:
        told = Path(folder) / current_job().id
        while log.attempt == 1 and not told.exists():
            time.sleep(0.05)
        log.effect()
        return log.result()
