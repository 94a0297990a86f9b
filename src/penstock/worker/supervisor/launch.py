"""Becoming a supervisor: how another process turns into one, or starts one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from penstock.executors.prctl import Option, prctl

from .plan import PLAN_FD_ENV, WorkerPlan, write_plan
from .stopping import STOP_SIGNALS

#: Module that a supervisor runs.
MODULE: Final = "penstock.worker"


def become_worker(
    plan: WorkerPlan, environ: Mapping[str, str], called: Sequence[str] = ()
) -> NoReturn:
    """Replace this process by a supervisor; nothing of it stays in memory.

    Signals that ask for the end wait until the supervisor can take them: a new interpreter would
    die of one in its first tenth of a second, with an exit code that says failure.

    Args:
        plan: what it is told.
        environ: of it.
        called: words that stand behind its command line for people who look at processes.

    Raises:
        OSError: the interpreter cannot be run; this process goes on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    whole = {**environ, PLAN_FD_ENV: str(write_plan(plan))}
    os.execve(sys.executable, [sys.executable, "-m", MODULE, *called], whole)  # noqa: S606 - no shell


def drain_with(parent: int) -> bool:
    """Let this worker drain when `parent`, which started it, ends; return whether it still runs.

    Race: where it ended before this, nothing was claimed, and there is nothing to do.
    """
    prctl(Option.PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent
