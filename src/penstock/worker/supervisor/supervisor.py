"""The supervisor: it runs no user code, and sees to it that whatever does is accounted for.

One duty is one object with one loop; here they are made and started. A loop that fails in a way
that nobody foresaw is started again and told in the log: the other duties, above all the extension
of leases, must not die of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from penstock.broker.clock import SystemClock
from penstock.errors import PenstockError
from penstock.executors.process import Spawner
from penstock.worker.pulse import attach, first_of

from .assembly import Frame, assemble
from .burst import Burst
from .child_pool import ChildPool
from .children import Children
from .crew import Crew, Run
from .drain import Drain
from .eviction import Evictions
from .growth import Growth
from .health import health_dir
from .health_server import HealthServer
from .limits import Limits
from .link import BrokerLink
from .maintenance import Maintenance
from .notify import Notifier
from .orphans import Orphans, become_subreaper
from .parts import Parts
from .plan import WorkerPlan, retention
from .reload import Reload
from .remains import Remains
from .runners import Runners
from .stall import Stalls
from .stance import StanceTeller
from .startup import (
    EXIT_DRAINED,
    EXIT_FAILED,
    EXIT_UNAVAILABLE,
    Start,
    StopAsked,
    end_runners,
    start_up,
)
from .stopping import Stopping

_log = logging.getLogger("penstock.worker")

#: Seconds that the broker is given to close leases at the end; they run out anyway.
_CLOSE_S: Final = 0.5


@dataclass(frozen=True)
class _Duties:
    """What is made once the broker has answered; `detach` undoes the listening."""

    parts: Parts
    runners: Runners
    pool: ChildPool
    children: Children
    detach: tuple[Callable[[], None], ...]


class Supervisor:
    """One worker, from its plan to its exit code.

    Attributes:
        begins_anew: it has drained because it had grown, and another one is to follow.
    """

    def __init__(self, plan: WorkerPlan, environ: Mapping[str, str]) -> None:
        """Prepare; nothing is started yet."""
        self._plan = plan
        self._environ = environ
        self._clock = SystemClock()
        self._spawner = Spawner()
        self._stopping = Stopping()
        self._notifier = Notifier(environ)
        self.begins_anew = False

    async def run(self) -> int:
        """Work until told to end; return the exit code.

        Raises:
            StartFailed: it could not begin; nothing was claimed.
        """
        self._stopping.install(asyncio.get_running_loop())
        become_subreaper()
        try:
            start = await start_up(self._plan, self._environ, self._spawner, self._stopping)
        except StopAsked:
            return EXIT_DRAINED
        try:
            async with asyncio.TaskGroup() as group:
                crew = Crew(group)
                try:
                    code = await self._serve(start, crew)
                finally:
                    crew.dismiss()
        finally:
            await start.broker.close()
        if code == EXIT_DRAINED and self._stopping.begins_anew:
            await self._stopping.hold()
            self.begins_anew = self._stopping.begins_anew
        return code

    async def _serve(self, start: Start, crew: Crew) -> int:
        """Start every duty, wait for the end, and see to it that it is a tidy one."""
        preparing = asyncio.create_task(self._prepare(start, crew))
        patience_s = start.settings.lease_ttl_ms / 1000 if self._plan.burst else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await first_of(preparing, self._stopping.drain.wait())
        if not preparing.done():
            # The broker did not answer yet, so nothing was claimed.
            await _give_up(preparing)
            await end_runners(start.runners)
            if self._stopping.drain.is_set():
                return EXIT_DRAINED
            _log.error("burst: the broker has not answered for %.0f s", patience_s)
            return EXIT_UNAVAILABLE
        duties = preparing.result()
        self._start_duties(duties, crew)
        for runner in start.runners:
            duties.runners.adopt(runner)
        await self._stopping.drain.wait()
        if not self._stopping.begins_anew:
            self._notifier.send(STOPPING=1)
        is_tidy = await Drain(duties.parts, duties.runners, duties.children).run()
        crew.dismiss()
        for detach in duties.detach:
            detach()
        await duties.pool.destroy()
        await duties.parts.profiles.tell_last(within_s=_CLOSE_S)
        duties.parts.budget.leave_host()
        await _close_leases(duties.parts)
        _log.info("worker %s has ended", duties.parts.identity.worker)
        if self._stopping.gave_up:
            return EXIT_UNAVAILABLE
        return EXIT_DRAINED if is_tidy else EXIT_FAILED

    async def _prepare(self, start: Start, crew: Crew) -> _Duties:
        """Make the parts; returns once the broker has opened the supervisor's lease."""
        link, broker = BrokerLink(start.broker, self._clock), start.broker
        facts = await link.insist(broker.describe, what="asking what the broker is")
        for warning in facts.warnings:
            _log.warning("%s", warning)
        cancel_listener = await link.insist(broker.listen, what="listening for cancels")
        job_listener = await link.insist(broker.listen, what="listening for jobs")
        link.reminder.watch((cancel_listener, job_listener), facts.durability)
        frame = Frame(self._plan, self._environ, self._spawner, self._stopping)
        parts = assemble(frame, start, link, facts, cancel_token=cancel_listener.token)
        runners = Runners(parts, crew)
        pool = ChildPool(parts, crew, runners.yielded_bell)
        children = Children(parts, runners, pool, crew, wake_token=job_listener.token)
        await parts.leases.open_own(parts.identity.owner(os.getpid()), children)
        _log.info(
            "worker %s serves %s on %s",
            parts.identity.worker,
            ", ".join(parts.settings.queues),
            facts.location,
        )
        if start.groups.told:
            _log.info("%s", start.groups.told)
        return _Duties(
            parts=parts,
            runners=runners,
            pool=pool,
            children=children,
            detach=(
                attach(cancel_listener, parts.leases.bell),
                attach(job_listener, children.bell),
            ),
        )

    def _start_duties(self, made: _Duties, crew: Crew) -> None:
        parts, runners, pool, children = made.parts, made.runners, made.pool, made.children
        health = HealthServer(parts, runners, children, pool, crew)
        limits = Limits(
            runners,
            Evictions(runners, crew),
            self._clock,
            kill_grace_ms=parts.settings.kill_grace_ms,
        )
        runners.on_ready = self._notifier.ready
        remains = Remains(parts.identity, parts.groups)
        parts.reclaim.before_takeover = remains.clear
        crew.send("what dead workers have left", remains.clear_all(self._environ))
        parts.profiles.on_look = runners.tell_kinds
        folder = health_dir(self._environ, self._plan.health_dir)
        duties: dict[str, Run] = {
            "leases": parts.leases.run,
            "reclaim": parts.reclaim.run,
            "orphans": Orphans(self._spawner).run,
            "runners": runners.run,
            "limits": limits.run,
            "stalls": Stalls(parts, runners, crew).run,
            "claims for children": children.run,
            "exclusive jobs": children.cut_off.run,
            "memory": children.memory.run,
            "pressure": parts.pressure.run,
            "profiles": parts.profiles.run,
            "stance": StanceTeller(parts, lambda: children.held_for).run,
            "idle children": pool.run,
            "maintenance": Maintenance(
                parts.link, parts.settings.queues, retention(parts.settings)
            ).run,
            "quiet": partial(self._follow_quiet, runners, children),
            "health": partial(health.run, folder),
            "watchdog": partial(self._notifier.keep_alive, health.is_moving),
        }
        if self._plan.burst:
            duties["burst"] = Burst(parts, runners, children).run
        if parts.settings.restart_above:
            duties["growth"] = Growth(self._stopping, parts.settings.restart_above).run
        if self._plan.reload:
            duties["reload"] = Reload(parts, runners, pool, Path.cwd(), crew).run
        for name, run in duties.items():
            crew.keep(name, run)

    async def _follow_quiet(self, runners: Runners, children: Children) -> None:
        """Pass quiet mode on, for ever."""
        while True:
            await self._stopping.quiet_changed.sleep()
            runners.set_quiet(on=self._stopping.is_quiet)
            children.bell.ring()


async def _give_up(preparing: asyncio.Task[_Duties]) -> None:
    """End the preparations.

    Race: the lease may be opened just now; then it is closed, and does not stay until it runs out.
    """
    await asyncio.wait([preparing], timeout=_CLOSE_S)
    if not preparing.done():
        preparing.cancel()
    elif preparing.exception() is None:
        made = preparing.result()
        for detach in made.detach:
            detach()
        await _close_leases(made.parts)


async def _close_leases(parts: Parts) -> None:
    """Close what is still open, so that nobody has to wait until it runs out."""
    leases = parts.leases.forget_all()
    with contextlib.suppress(PenstockError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            close = partial(parts.link.broker.close_leases, leases)
            await parts.link.insist(close, what="closing the leases")
