"""Becoming a supervisor: how another process turns into one, or starts one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Final, NoReturn

from .plan import PLAN_FD_ENV, WorkerPlan, write_plan
from .stopping import STOP_SIGNALS

#: Module that a supervisor runs.
MODULE: Final = "penstock.worker"


def become_worker(plan: WorkerPlan, environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by a supervisor; nothing of it stays in memory.

    Signals that ask for the end wait until the supervisor can take them: a new interpreter would
    die of one in its first tenth of a second, with an exit code that says failure.

    Raises:
        OSError: the interpreter cannot be run; this process goes on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    whole = {**environ, PLAN_FD_ENV: str(write_plan(plan))}
    os.execve(sys.executable, [sys.executable, "-m", MODULE], whole)  # noqa: S606 - no shell
