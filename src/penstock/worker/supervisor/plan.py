"""What a supervisor is told to do, and the settings that follow from it.

The plan is handed over in a descriptor and never in argv, which everyone on the host can read: its
flags may hold a URL with a password.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.broker.requests import Retention
from penstock.config.resolve import load
from penstock.config.settings import Settings
from penstock.core.lifecycle import State
from penstock.core.manifest import AppManifest
from penstock.errors import BadSetting

#: Environment variable that names the descriptor from which the plan is read.
PLAN_FD_ENV: Final = "PENSTOCK_PLAN_FD"
#: Bytes of a plan; a real one has a few hundred.
_PLAN_BYTES_MAX: Final = 2**20


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a worker is told when it is started.

    Attributes:
        app: "module:attribute" of the user's app, imported by runners and children only.
        flags: settings from the command line, name -> value; they win over every other source.
        burst: end once nothing is left to do.
        reload: restart runners when a source file under the working directory changes.
        health_dir: folder of the health socket; None: the folder of this user's sockets.
        errors_as_json: a failed start is told as one JSON document, as every command tells it.
        debug: a failed start is told with the traceback of the user's module.
        parent: process with whose end the worker drains; None: it stands alone.
    """

    app: str
    flags: dict[str, Any] = {}
    burst: bool = False
    reload: bool = False
    health_dir: str | None = None
    errors_as_json: bool = False
    debug: bool = False
    parent: int | None = None

    def settings(self, environ: Mapping[str, str], manifest: AppManifest | None = None) -> Settings:
        """Return the settings of the worker: flags, the app's own, environment, file, default.

        Where nobody names queues, all that the app names are served.

        Args:
            environ: the environment that the worker was started with.
            manifest: what the app says of itself; None: it has not been imported yet.

        Raises:
            BadSetting: a value breaks its rule; the message names where it stands.
        """
        if manifest is None:
            return load(flags=self.flags, environ=environ).settings
        # The runner has resolved the URL with the app's own folder in view.
        flags = {"url": manifest.url, **self.flags}
        config = load(flags=flags, app=manifest.settings, environ=environ)
        if config.values["queues"].origin != "default":
            return config.settings
        return msgspec.structs.replace(config.settings, queues=manifest.queues)


def retention(settings: Settings) -> tuple[Retention, ...]:
    """Return how long final jobs are kept, by state."""
    return (
        Retention(
            state=State.COMPLETED,
            age_ms=settings.retention_completed_age_ms,
            count_max=settings.retention_completed_count,
        ),
        Retention(
            state=State.DEAD,
            age_ms=settings.retention_dead_age_ms,
            count_max=settings.retention_dead_count,
        ),
        Retention(
            state=State.CANCELLED,
            age_ms=settings.retention_cancelled_age_ms,
            count_max=settings.retention_cancelled_count,
        ),
        Retention(
            state=State.EXPIRED,
            age_ms=settings.retention_expired_age_ms,
            count_max=settings.retention_expired_count,
        ),
    )


def write_plan(plan: WorkerPlan) -> int:
    """Return a new descriptor, to be inherited, from which `read_plan` reads the plan once.

    It is a file in memory: nothing of it reaches a disk.
    """
    descriptor = os.memfd_create("penstock-plan")
    os.write(descriptor, msgspec.json.encode(plan))
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - its signature knows no name
    return descriptor


def read_plan(descriptor: int) -> WorkerPlan:
    """Read the plan and close its descriptor, so that no process inherits it.

    Raises:
        BadSetting: it is no plan.
    """
    try:
        with os.fdopen(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(_PLAN_BYTES_MAX), type=WorkerPlan)
    except (OSError, msgspec.DecodeError) as error:
        raise BadSetting(
            f"descriptor {descriptor} in {PLAN_FD_ENV} holds no plan ({error}): start workers "
            "with `penstock worker`"
        ) from error
