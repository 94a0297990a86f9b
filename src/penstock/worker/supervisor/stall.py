"""Runners that stand still: reported with state and stack, and replaced in the end.

A beat comes from a thread that needs the interpreter. While none comes, the leases are extended
all the same, so the jobs of a stopped runner never run twice. A job alone in a child is never
killed for standing still.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Final

from penstock.executors.procfs import read_stat
from penstock.worker.wire import BEAT_MS

from .crew import Crew
from .file_lock import write_lock_holders
from .parts import Parts
from .runner_process import End, Phase, RunnerProcess
from .runners import Runners

_log = logging.getLogger("penstock.worker")

#: Seconds between two looks at the silence of runners.
_TICK_S: Final = 0.5
#: Milliseconds of silence that are worth a thought: two beats.
_SILENT_MS: Final = 2 * BEAT_MS
#: State letters of /proc, in words.
_STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting inside the kernel",
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "Z": "a zombie",
}


class StoodStill(Exception):
    """Carries the stacks of a runner into the log, where an exception's text may have lines."""


class Stalls:
    """Measures the silence of each runner while the supervisor itself is awake."""

    def __init__(self, parts: Parts, runners: Runners, crew: Crew) -> None:
        """Report in tasks of `crew`."""
        self._parts = parts
        self._runners = runners
        self._crew = crew
        self._reported: set[RunnerProcess] = set()
        self._condemned: set[RunnerProcess] = set()
        settings = parts.settings
        # Less than two beats of silence mean nothing: a beat may be late on a busy machine.
        self._report_ms = max(_SILENT_MS, settings.runner_stall_report_ms)
        # A locked file stops every worker on it, so it is not kept for as long as a mere stall is.
        self._block_ms = max(_SILENT_MS, min(self._report_ms, settings.lease_ttl_ms // 2))

    async def run(self) -> None:
        """Look every half second, for ever."""
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = loop.time()
            # A supervisor that was itself stopped has heard nothing, which says nothing.
            awake_ms = round(min(now_s - last_s, 2 * _TICK_S) * 1000)
            last_s = now_s
            self._reported.intersection_update(self._runners.all)
            self._condemned.intersection_update(self._runners.all)
            for runner in self._runners.all:
                if runner.beat is not None and runner.phase is not Phase.ENDED:
                    self._look(runner, awake_ms)

    def _look(self, runner: RunnerProcess, awake_ms: int) -> None:
        settings = self._parts.settings
        runner.silent_ms += awake_ms
        if self._blocks_all(runner):
            if runner not in self._condemned:
                self._condemned.add(runner)
                self._crew.send(f"ending runner {runner.pid}", self._unblock(runner))
            return
        if runner.silent_ms < self._report_ms:
            if runner in self._reported:
                self._reported.discard(runner)
                _log.warning("runner %d moves again", runner.pid)
            return
        if runner not in self._reported:
            self._reported.add(runner)
            self._parts.slots.presume_yielded(runner)
            self._runners.yielded_bell.ring()
            self._crew.send(f"reporting runner {runner.pid}", self._report(runner))
        if runner.silent_ms >= settings.runner_stall_kill_ms:
            self._kill(runner, "it did not move")

    async def _unblock(self, runner: RunnerProcess) -> None:
        """Kill a runner that blocks everybody, once its stack is known."""
        stack = await runner.ask_stack()
        why = "it keeps the broker's file locked, and no lease can be extended"
        self._kill(runner, why, stack)

    def _kill(self, runner: RunnerProcess, why: str, stack: str = "") -> None:
        if runner.end is None:
            _log.error(
                "runner %d stood still for %.1f s and is killed, because %s; its jobs are suspects",
                runner.pid,
                runner.silent_ms / 1000,
                why,
                exc_info=StoodStill(stack) if stack else None,
            )
            self._reported.discard(runner)
            runner.kill(End.STALLED)

    def _blocks_all(self, runner: RunnerProcess) -> bool:
        """Tell whether a silent runner keeps the broker's file locked for everybody else."""
        if runner.silent_ms < self._block_ms or self._parts.broker.kind != "sqlite":
            return False
        return runner.pid in write_lock_holders(Path(self._parts.broker.location))

    async def _report(self, runner: RunnerProcess) -> None:
        silent_s = runner.silent_ms / 1000
        stack = await runner.ask_stack()
        _log.warning(
            "runner %d has stood still for %.1f s; its process is %s. Its jobs (%d at its last "
            "beat) keep their lease and do not run twice; it is replaced after %.0f s",
            runner.pid,
            silent_s,
            process_state(runner.pid),
            runner.running,
            self._parts.settings.runner_stall_kill_ms / 1000,
            exc_info=StoodStill(stack or "no stack can be had from it in this state"),
        )


def process_state(pid: int) -> str:
    """Return the state of a process in words, with its letter and where in the kernel it waits."""
    stat = read_stat(pid)
    if stat is None:
        return "gone"
    words = f"{_STATES.get(stat.state, 'in an unknown state')} ({stat.state})"
    with contextlib.suppress(OSError):
        waits_in = Path(f"/proc/{pid}/wchan").read_text(encoding="ascii")
        if waits_in not in ("", "0"):
            words += f" in {waits_in}"
    return words
