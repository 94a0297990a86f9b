"""What a fleet is told to do: which workers of which kind, and how they are started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.config.profiles import ALL_QUEUES
from penstock.worker.supervisor.plan import WorkerPlan

from .role import Role


class FleetOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `penstock up` has found out before it starts anybody.

    Attributes:
        profile: its name.
        roles: one per kind of worker, in the order in which they are started; each names its
            app.
        host: name of this host, for the names of workers.
        flags: settings from the command line; they win over the profile's.
        errors_as_json: as in `WorkerPlan`.
        debug: as in `WorkerPlan`.
    """

    profile: str
    roles: tuple[Role, ...]
    host: str
    flags: Mapping[str, Any] = {}
    errors_as_json: bool = False
    debug: bool = False

    def name(self, role: Role, number: int) -> str:
        """Return the name of the worker with this number, from 1, of its kind.

        Source: the requirement M3, `worker-{queue}@{host}` and `all-queues@{host}`; numbers only
        where there may be more than one.
        """
        kind = role.table.name
        called = kind if kind == ALL_QUEUES else f"worker-{kind}"
        numbered = f"-{number}" if role.table.most > 1 else ""
        return f"{called}{numbered}@{self.host}"

    def plan(self, role: Role, number: int, parent: int) -> WorkerPlan:
        """Return what this worker is told, as `penstock worker` would tell it.

        Args:
            role: its kind.
            number: among its kind, from 1.
            parent: process that starts it, and with whose end it drains.
        """
        app = role.table.app
        assert app is not None  # noqa: S101 - the command has made sure of it
        flags = {**role.flags, **self.flags, "worker_name": self.name(role, number)}
        return WorkerPlan(
            app=app,
            flags=flags,
            errors_as_json=self.errors_as_json,
            debug=self.debug,
            parent=parent,
        )
