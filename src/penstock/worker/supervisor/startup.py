"""From a plan to the parts of a supervisor: the app is imported once, the broker is opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from penstock.broker.clock import SystemClock
from penstock.broker.protocol import AsyncBroker
from penstock.broker.threaded import loop_face
from penstock.config.settings import Settings
from penstock.connect import connect_as
from penstock.core.devices import Device
from penstock.core.ids import AttemptKey
from penstock.core.job import StoredError
from penstock.core.manifest import AppManifest
from penstock.errors import BadSetting, NewerSchema, Unavailable
from penstock.executors.process import Spawner
from penstock.worker.error_text import import_failure
from penstock.worker.pulse import first_of, retry_wait_s

from .environment import runner_environment
from .gpus import find_gpus
from .groups import Groups
from .plan import WorkerPlan
from .runner_process import End, RunnerProcess
from .stopping import Stopping

_log = logging.getLogger("penstock.worker")

#: Exit codes of a worker. 2 is the shell's habit for usage; 69 and 78 are EX_UNAVAILABLE and
#: EX_CONFIG of sysexits.h.
EXIT_DRAINED: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 69
EXIT_REFUSED: Final = 78


class StartFailed(Exception):
    """The worker cannot begin; the message is for people, `code` for the process.

    Attributes:
        code: what the process ends with.
        kind: class of the error, for programs.
        traceback: of the user's module, None where it has no part in it.
    """

    def __init__(
        self, message: str, code: int, *, kind: str = "BadSetting", traceback: str | None = None
    ) -> None:
        """Keep all four."""
        super().__init__(message)
        self.code = code
        self.kind = kind
        self.traceback = traceback


class StopAsked(Exception):
    """The worker was told to end before it began; nothing was claimed."""


@dataclass(frozen=True)
class Start:
    """What a supervisor begins with.

    Attributes:
        settings: with what the app itself says.
        manifest: of the app.
        runners: that were started to read it; they wait to be introduced.
        broker: open.
        devices: GPUs whose parts jobs may have.
        groups: for children.
    """

    settings: Settings
    manifest: AppManifest
    runners: list[RunnerProcess]
    broker: AsyncBroker
    groups: Groups
    devices: tuple[Device, ...] = ()


async def start_up(
    plan: WorkerPlan, environ: Mapping[str, str], spawner: Spawner, stopping: Stopping
) -> Start:
    """Start the runners, learn what the app is from the first, and open the broker.

    Raises:
        StartFailed: the app cannot be imported, or the settings or the broker are refused. The
            runners are gone.
        StopAsked: a signal came first. The runners are gone.
    """
    settings = _settings(plan, environ)
    # Before the runners, which are to be in the worker's own group if it moves into one.
    groups = Groups.open(SystemClock().boot_id) if settings.cgroups == "auto" else Groups()
    env = runner_environment(environ, settings)
    nobody = _Nobody()
    runners: list[RunnerProcess] = []
    try:
        while len(runners) < settings.processes:
            runners.append(await RunnerProcess.spawn(spawner, plan.app, env, nobody))
        manifest = await _first_manifest(plan, runners, stopping)
        settings = _settings(plan, environ, manifest)
        devices = await _find_gpus(settings, environ)
        broker = await _open_broker(plan, settings, stopping)
    except BaseException:
        await end_runners(runners)
        raise
    return Start(settings, manifest, runners, broker, groups, devices)


async def _first_manifest(
    plan: WorkerPlan, runners: list[RunnerProcess], stopping: Stopping
) -> AppManifest:
    """Return what the first runner to import the app says; the first to fail decides, too."""
    hellos = [runner.hello for runner in runners]
    await first_of(*hellos, *(runner.lived for runner in runners), stopping.drain.wait())
    if stopping.drain.is_set():
        raise StopAsked
    for runner in runners:
        if not runner.hello.done() or runner.hello.cancelled():
            continue
        hello = runner.hello.result()
        if hello.manifest is not None:
            return hello.manifest
        if hello.error is not None:
            raise _cannot_import(plan.app, hello.error)
    dead = next(runner for runner in runners if runner.lived.done())
    raise StartFailed(
        f"the runner {dead.lived.result()} while it imported app {plan.app!r}\n{dead.read_stack()}",
        EXIT_FAILED,
        kind="Crashed",
    )


def _cannot_import(app: str, error: StoredError) -> StartFailed:
    """Return the failure in one line, or as it is where nothing of the user's ran."""
    if error.traceback is None:
        # The app was not found where it should be.
        return StartFailed(error.message, EXIT_USAGE, kind=error.kind)
    return StartFailed(
        import_failure(app, error), EXIT_USAGE, kind="UsageError", traceback=error.traceback
    )


def _settings(
    plan: WorkerPlan, environ: Mapping[str, str], manifest: AppManifest | None = None
) -> Settings:
    try:
        return plan.settings(environ, manifest)
    except BadSetting as error:
        raise StartFailed(str(error), EXIT_REFUSED) from error


async def _find_gpus(settings: Settings, environ: Mapping[str, str]) -> tuple[Device, ...]:
    try:
        return await find_gpus(settings, environ)
    except BadSetting as error:
        raise StartFailed(str(error), EXIT_REFUSED) from error


async def _open_broker(plan: WorkerPlan, settings: Settings, stopping: Stopping) -> AsyncBroker:
    """Open the broker, trying again for as long as it cannot be reached.

    What no later try can mend is refused at once; a burst gives up in the end.
    """
    # As for every command: a wrong flag is the call's mistake, any other source is configuration.
    refused = EXIT_USAGE if "url" in plan.flags else EXIT_REFUSED
    if settings.url.startswith("memory:"):
        raise StartFailed(
            "the memory broker lives in one process, and a worker has several: use a "
            "sqlite:///FILE URL, or penstock.testing for tests",
            refused,
        )
    failures, until_s = 0, asyncio.get_running_loop().time() + settings.lease_ttl_ms / 1000
    while True:
        try:
            broker = await asyncio.to_thread(connect_as, settings)
        except NewerSchema as error:
            # Whoever gave the URL: it is right, and the code is not.
            raise StartFailed(str(error), EXIT_REFUSED, kind="NewerSchema") from error
        except BadSetting as error:
            raise StartFailed(str(error), refused) from error
        except Unavailable as error:
            failures += 1
            if error.lasts:
                raise StartFailed(str(error), refused, kind="Unavailable") from error
            if plan.burst and asyncio.get_running_loop().time() >= until_s:
                raise StartFailed(
                    f"burst: the broker cannot be reached: {error}",
                    EXIT_UNAVAILABLE,
                    kind="Unavailable",
                ) from error
            _log.warning("the broker cannot be reached, trying again: %s", error)
            await first_of(asyncio.sleep(retry_wait_s(failures)), stopping.drain.wait())
            if stopping.drain.is_set():
                raise StopAsked from error
            continue
        return loop_face(broker)


async def end_runners(runners: list[RunnerProcess]) -> None:
    """Kill runners that were not introduced to the broker yet: they have no jobs."""
    for runner in runners:
        runner.kill(End.STOPPED)
    for runner in runners:
        await runner.lived
        runner.bury()


class _Nobody:
    """Attends to runners that have nothing to say yet but hello."""

    def changed(self, runner: RunnerProcess) -> None:
        """Do nothing."""

    def watching(self, hard_boot_ms: int) -> None:
        """Do nothing."""

    def yielded(self, runner: RunnerProcess, threads: int) -> None:
        """Do nothing."""

    def paced(self, runs: Mapping[str, Mapping[str, float]]) -> None:
        """Do nothing."""

    def overran(self, runner: RunnerProcess, jobs: tuple[AttemptKey, ...]) -> None:
        """Do nothing."""
