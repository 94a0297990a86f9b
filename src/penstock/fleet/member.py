"""One place of a fleet: the worker that runs there, and the one that follows when it has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

from penstock.executors.process import ExitStatus, Process, Spawner
from penstock.worker.pulse import Bell, backoff_ms
from penstock.worker.supervisor.launch import MODULE
from penstock.worker.supervisor.plan import PLAN_FD_ENV, write_plan
from penstock.worker.supervisor.startup import EXIT_DRAINED, EXIT_REFUSED, EXIT_USAGE

from .order import FleetOrder
from .role import Role

_log = logging.getLogger("penstock.fleet")

#: Seconds after which a worker counts as well begun: what ends it later is no failed start, and the
#: wait before the next one begins at its least again.
WELL_BEGUN_S: Final = 60.0
#: Exit codes that say that no later try can do better: the call or a setting is wrong.
_HOPELESS: Final = frozenset({EXIT_USAGE, EXIT_REFUSED})


class Member:
    """Keeps one worker running until it is told to end.

    Attributes:
        role: its kind.
        number: among its kind, from 1.
        name: of the worker.
        process: that runs now; None between two.
        began_s: loop time at which it was started.
        restarts: workers that were started here after the first.
        is_tidy: the last one drained, or was never begun.
    """

    def __init__(
        self,
        order: FleetOrder,
        role: Role,
        number: int,
        spawner: Spawner,
        environ: Mapping[str, str],
        has_begun_well: Callable[[Role], bool],
    ) -> None:
        """Start nothing yet; `has_begun_well` tells whether any worker of a kind ever has."""
        self._has_begun_well = has_begun_well
        self._order = order
        self._spawner = spawner
        self._environ = environ
        self._bell = Bell()
        self._is_ending = False
        self._failures = 0
        self.role = role
        self.number = number
        self.name = order.name(role, number)
        self.process: Process | None = None
        self.began_s = 0.0
        self.restarts = 0
        self.is_tidy = True

    async def keep(self) -> int | None:
        """Run a worker, and another one when it ends, until told to end.

        Returns:
            None, or the exit code of a worker that could not begin and never will.
        """
        while not self._is_ending:
            began_s = asyncio.get_running_loop().time()
            try:
                process = self._spawn()
            except OSError as error:
                _log.error("%s cannot be started: %s", self.name, error)
                await self._wait(0.0)
                continue
            status = await process.wait()
            process.bury()
            self.process = None
            lived_s = asyncio.get_running_loop().time() - began_s
            if self._ended(status, process.pid, lived_s):
                return status.code
            if not self._is_ending:
                await self._wait(lived_s)
        return None

    def end(self, *, at_once: bool = False) -> None:
        """Let the worker drain and start no other; `at_once`: it releases its jobs now."""
        # A second signal means something else to a worker than the first one.
        if at_once or not self._is_ending:
            self._signal(signal.SIGTERM)
        self._is_ending = True
        self._bell.ring()

    def pass_on(self, number: signal.Signals) -> None:
        """Send the worker a signal that this process was sent."""
        self._signal(number)

    def _spawn(self) -> Process:
        descriptor = write_plan(self._order.plan(self.role, self.number, os.getpid()))
        try:
            env = {**self._environ, PLAN_FD_ENV: str(descriptor)}
            # Its name stands in argv for people who look at the processes; nobody reads it there.
            process = self._spawner.spawn(MODULE, self.name, env=env, fds=(descriptor,))
        finally:
            os.close(descriptor)
        self.process = process
        self.began_s = asyncio.get_running_loop().time()
        _log.info("%s started, pid %d", self.name, process.pid)
        return process

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    async def _wait(self, lived_s: float) -> None:
        """Let time pass before the next worker: the longer, the more often one has failed."""
        self.restarts += 1
        self._failures = 1 if lived_s >= WELL_BEGUN_S else self._failures + 1
        wait_s = backoff_ms(self._failures) / 1000
        _log.info("%s is started again in %.1f s", self.name, wait_s)
        await self._bell.sleep(wait_s)

    def _ended(self, status: ExitStatus, pid: int, lived_s: float) -> bool:
        """Say how a worker ended; return whether no other one is worth starting."""
        # A signal that arrives before the worker can take it: it has claimed nothing.
        was_unbegun = status.killed_by == signal.SIGTERM
        self.is_tidy = status.code == EXIT_DRAINED or (self._is_ending and was_unbegun)
        level = logging.INFO if self.is_tidy else logging.ERROR
        _log.log(level, "%s ended, pid %d: it %s", self.name, pid, status)
        is_hopeless = status.code in _HOPELESS and lived_s < WELL_BEGUN_S
        # Where one of its kind has begun well the call is right: a deploy under way, or a database
        # that is away while the app is imported, must not end those that work.
        return not self._is_ending and is_hopeless and not self._has_begun_well(self.role)
