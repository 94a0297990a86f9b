"""Answers those who ask how the worker is doing, and judges it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import Unavailable

from .child_pool import ChildPool
from .children import Children
from .crew import Crew
from .health import (
    ChildHealth,
    Health,
    RunnerHealth,
    check_folder,
    health_sockets,
    read_health,
    short_path,
    socket_name,
)
from .parts import Parts
from .runner_process import Phase, RunnerProcess
from .runners import Runners

_log = logging.getLogger("penstock.worker")

#: Seconds that one reader may take: a slow one must not hold a connection for ever.
_ANSWER_S: Final = 2.0
#: Readers waiting to be answered.
_BACKLOG: Final = 16
#: Milliseconds that a claim loop may stand still at least; it moves at each poll.
_CLAIM_STILL_MS: Final = 10_000
#: Polls that a claim loop may miss, where the poll is slow.
_POLLS_MISSED: Final = 3


class HealthServer:
    """Serves the health socket, and says whether the worker's loops move."""

    def __init__(
        self, parts: Parts, runners: Runners, children: Children, pool: ChildPool, crew: Crew
    ) -> None:
        """Describe these parts."""
        self._parts = parts
        self._crew = crew
        self._runners = runners
        self._children = children
        self._pool = pool
        self._began_ms = parts.link.clock.boot_ms()

    async def run(self, folder: Path) -> None:
        """Answer for ever. Without a safe folder nothing is served, and the log says so."""
        path = folder / socket_name(self._parts.identity.worker)
        try:
            await asyncio.to_thread(_make_folder, folder)
            with _listening(path) as listener:
                server = await asyncio.start_unix_server(self._answer, sock=listener)
                async with server:
                    await server.serve_forever()
        except OSError as error:
            _log.warning("no health socket at %s: %s", path, error)
        finally:
            path.unlink(missing_ok=True)

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(msgspec.json.encode(self.health()))
            async with asyncio.timeout(_ANSWER_S):
                await writer.drain()
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            writer.close()

    def is_moving(self) -> bool:
        """Whether claim loops, leases and broker have moved lately."""
        return not self._wrong()

    def health(self) -> Health:
        """Describe the worker now."""
        parts, now_ms = self._parts, self._parts.link.clock.boot_ms()
        wrong, phase = self._wrong(), self._phase()
        return Health(
            worker=parts.identity.worker,
            pid=os.getpid(),
            app=parts.plan.app,
            queues=parts.settings.queues,
            phase=phase,
            ready=phase == "running" and not wrong,
            live=not wrong,
            wrong=wrong,
            uptime_ms=now_ms - self._began_ms,
            broker=parts.broker.location,
            broker_error=parts.link.last_error,
            leases=len(parts.leases),
            extended_ago_ms=now_ms - parts.leases.extended_at_ms,
            reclaimed_ago_ms=now_ms - parts.reclaim.looked_at_ms,
            hold_ms=parts.reclaim.hold_ms,
            claimed_ago_ms=now_ms - self._children.moved_at_ms,
            taken=parts.reclaim.taken,
            restarts=self._runners.restarts,
            settled=parts.settler.settled
            + self._runners.settled
            + sum(one.beat.settled for one in self._runners.all if one.beat is not None),
            defects=self._crew.failures,
            slots=parts.slots.total,
            slots_of_children=parts.slots.children,
            runners=tuple(_runner_health(one) for one in self._runners.all),
            children=tuple(
                ChildHealth(pid=one.pid, job=one.job.id if one.job else None, jobs=one.jobs)
                for one in self._pool.all
            ),
            modules=foreign_modules(),
        )

    def _phase(self) -> str:
        if self._parts.stopping.drain.is_set():
            return "draining"
        if not any(one.phase is Phase.RUNNING for one in self._runners.all):
            return "starting"
        return "quiet" if self._parts.stopping.is_quiet else "running"

    def _wrong(self) -> str:
        """Return why the worker is not live, empty if it is."""
        parts, now_ms = self._parts, self._parts.link.clock.boot_ms()
        still_ms = max(_CLAIM_STILL_MS, _POLLS_MISSED * parts.settings.poll_ms)
        if now_ms - parts.leases.extended_at_ms > parts.settings.lease_ttl_ms:
            return "the leases were not extended in time"
        if now_ms - parts.link.answered_at_ms > parts.settings.lease_ttl_ms:
            return "the broker does not answer"
        if now_ms - self._children.moved_at_ms > still_ms:
            return "the supervisor's claim loop stands still"
        running = [one for one in self._runners.all if one.phase is Phase.RUNNING]
        if parts.stopping.is_quiet or not running:
            return ""
        if all(self._stands_still(one, still_ms) for one in running):
            return "the claim loop of every runner stands still"
        return ""

    def _stands_still(self, runner: RunnerProcess, still_ms: int) -> bool:
        beat = runner.beat
        if runner.silent_ms >= self._parts.settings.runner_stall_report_ms:
            return True
        return beat is not None and beat.claim_age_ms > still_ms


def foreign_modules() -> tuple[str, ...]:
    """Return the packages imported in this process that do not come with Python."""
    tops = {name.partition(".")[0] for name in sys.modules}
    return tuple(sorted(tops - sys.stdlib_module_names - {"__main__", "__mp_main__"}))


def _runner_health(runner: RunnerProcess) -> RunnerHealth:
    beat = runner.beat
    return RunnerHealth(
        pid=runner.pid,
        phase=runner.phase,
        running=runner.running,
        settled=0 if beat is None else beat.settled,
        failed=0 if beat is None else beat.failed,
        silent_ms=None if beat is None else runner.silent_ms,
        claim_age_ms=None if beat is None else beat.claim_age_ms,
        loop_lag_ms=None if beat is None else beat.loop_lag_ms,
    )


def _make_folder(folder: Path) -> None:
    """Make the folder if need be, refuse one that others can write to, and clear out the dead."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_folder(folder, folder.lstat())
    for path in health_sockets(folder):
        try:
            read_health(path)
        except Unavailable as error:
            if isinstance(error.__cause__, ConnectionRefusedError):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
        short_path(path) as name,
    ):
        listener.setblocking(False)  # noqa: FBT003 - its signature knows no name
        listener.bind(name)
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        yield listener
