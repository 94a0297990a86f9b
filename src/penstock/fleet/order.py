"""What a fleet is told to do: which workers of which kind, and how they are started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.config.profiles import ALL_QUEUES
from penstock.worker.supervisor.plan import WorkerPlan

from .demand import Demand


class FleetOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `penstock up` has found out before it starts anybody.

    Attributes:
        profile: its name.
        demands: one per kind of worker, in the order in which they are started; each names its
            app.
        host: name of this host, for the names of workers.
        flags: settings from the command line; they win over the profile's.
        errors_as_json: as in `WorkerPlan`.
        debug: as in `WorkerPlan`.
    """

    profile: str
    demands: tuple[Demand, ...]
    host: str
    flags: Mapping[str, Any] = {}
    errors_as_json: bool = False
    debug: bool = False

    def name(self, demand: Demand, number: int) -> str:
        """Return the name of the worker with this number, from 1, of its kind.

        Source: the requirement M3, `worker-{queue}@{host}` and `all-queues@{host}`; numbers only
        where there may be more than one.
        """
        kind = demand.table.name
        called = kind if kind == ALL_QUEUES else f"worker-{kind}"
        numbered = f"-{number}" if demand.table.most > 1 else ""
        return f"{called}{numbered}@{self.host}"

    def plan(self, demand: Demand, number: int, parent: int) -> WorkerPlan:
        """Return what this worker is told, as `penstock worker` would tell it.

        Args:
            demand: its kind.
            number: among its kind, from 1.
            parent: process that starts it, and with whose end it drains.
        """
        app = demand.table.app
        assert app is not None  # noqa: S101 - the command has made sure of it
        flags = {**demand.flags, **self.flags, "worker_name": self.name(demand, number)}
        return WorkerPlan(
            app=app,
            flags=flags,
            errors_as_json=self.errors_as_json,
            debug=self.debug,
            parent=parent,
        )
