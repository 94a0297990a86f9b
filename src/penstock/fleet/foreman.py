"""The foreman: one process that starts the workers of a profile and keeps them running.

It claims nothing, and imports no user code. A signal that asks for the end is passed on to every
worker: the first drains, the second releases. Each worker has a session of its own, so that Ctrl-C
reaches the foreman alone and no worker gets a signal twice; one whose foreman was killed drains.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
from collections.abc import Collection, Mapping
from typing import Final

from penstock.config.settings import Settings
from penstock.executors.process import Spawner
from penstock.worker.supervisor.crew import Crew
from penstock.worker.supervisor.notify import Notifier
from penstock.worker.supervisor.startup import EXIT_DRAINED, EXIT_FAILED
from penstock.worker.supervisor.stopping import STOP_SIGNALS

from .member import WELL_BEGUN_S, Member
from .order import FleetOrder
from .role import Role
from .scaling import Scaling

_log = logging.getLogger("penstock.fleet")

#: Signals that every worker is sent as they come: quiet, and on again.
_PASSED_ON: Final = (signal.SIGTSTP, signal.SIGCONT)
#: Variables of the init system, meant for the foreman alone.
_FOREMAN_ONLY: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})


class Foreman:
    """One fleet, from its order to its exit code."""

    def __init__(self, order: FleetOrder, settings: Settings, environ: Mapping[str, str]) -> None:
        """Prepare; nothing is started yet.

        Args:
            order: which workers.
            settings: of this process, for the broker whose backlog is followed.
            environ: that the workers are started with.
        """
        self._order = order
        self._settings = settings
        self._environ = {name: v for name, v in environ.items() if name not in _FOREMAN_ONLY}
        self._notifier = Notifier(environ)
        self._spawner = Spawner()
        self._members: dict[Member, asyncio.Task[int | None]] = {}
        self._retired: set[Member] = set()
        self._well: set[str] = set()
        self._is_stopping = False
        self._all_ended = asyncio.Event()
        self._exit_code = EXIT_DRAINED

    async def run(self) -> int:
        """Keep the workers running until told to end; return the exit code.

        0: every worker drained. Else: the code of a worker that could not begin, or 1.
        """
        self._take_signals()
        for role in self._order.roles:
            self.set_count(role, role.table.least)
        self._notifier.ready()
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            scaling = Scaling(self._order.roles, self._settings, self.set_count)
            crew.keep("autoscale", scaling.run)
            await self._all_ended.wait()
            crew.dismiss()
        _log.info("profile %s has ended", self._order.profile)
        return self._exit_code

    def set_count(self, role: Role, count: int, busy: Collection[int] = ()) -> None:
        """Start or drain workers of a kind until there are `count` that are not to end.

        Args:
            role: which kind.
            count: how many there should be.
            busy: processes of workers that run jobs: they are drained once they are idle, since a
                drain cuts off what takes longer than its grace.
        """
        if self._is_stopping:
            return
        here = [one for one in self._members if one.role is role and one not in self._retired]
        idle = [one for one in here if one.process is None or one.process.pid not in busy]
        for member in idle[::-1][: max(0, len(here) - count)]:
            _log.info("%s is no longer needed and drains", member.name)
            self._retired.add(member)
            member.end()
        taken = {one.number for one in self._members if one.role is role}
        free = (number for number in itertools.count(1) if number not in taken)
        for number in itertools.islice(free, max(0, count - len(here))):
            self._open(role, number)

    def _open(self, role: Role, number: int) -> None:
        member = Member(
            self._order, role, number, self._spawner, self._environ, self._has_begun_well
        )
        task = asyncio.create_task(member.keep(), name=member.name)
        self._members[member] = task
        task.add_done_callback(lambda ended: self._closed(member, ended))

    def _has_begun_well(self, role: Role) -> bool:
        """Return whether a worker of a kind has run for long enough, now or before."""
        now_s = asyncio.get_running_loop().time()
        self._well |= {
            one.role.table.name
            for one in self._members
            if one.process is not None and now_s - one.began_s >= WELL_BEGUN_S
        }
        return role.table.name in self._well

    def _closed(self, member: Member, ended: asyncio.Task[int | None]) -> None:
        del self._members[member]
        self._retired.discard(member)
        defect = None if ended.cancelled() else ended.exception()
        code = EXIT_FAILED if defect or ended.cancelled() else ended.result()
        if code is not None:
            text = "%s cannot begin, so the others are ended too"
            _log.error(text, member.name, exc_info=defect)
            self._exit_code = code
            self._stop()
        elif not member.is_tidy and self._is_stopping and self._exit_code == EXIT_DRAINED:
            self._exit_code = EXIT_FAILED
        if self._is_stopping and not self._members:
            self._all_ended.set()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop, number)
        for number in _PASSED_ON:
            loop.add_signal_handler(number, self._pass_on, number)

    def _asked_to_stop(self, number: signal.Signals) -> None:
        if self._is_stopping:
            _log.warning("%s again: every worker releases its jobs now", number.name)
            self._stop(at_once=True)
        else:
            _log.info("%s: the workers drain; once more releases all jobs at once", number.name)
            self._stop()

    def _stop(self, *, at_once: bool = False) -> None:
        if not self._is_stopping:
            self._notifier.send(STOPPING=1)
        self._is_stopping = True
        for member in self._members:
            member.end(at_once=at_once)
        if not self._members:
            self._all_ended.set()

    def _pass_on(self, number: signal.Signals) -> None:
        for member in self._members:
            member.pass_on(number)
