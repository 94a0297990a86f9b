"""`penstock up PROFILE`: the workers of a profile, under one process that keeps them running."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli import fleet
from penstock.cli.command import Answer
from penstock.cli.session import Session, refuse_memory
from penstock.cli.target import check_module, whole_target
from penstock.core.units import size_bytes
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.config.profiles import WorkerTable
    from penstock.config.resolve import Config
    from penstock.fleet.order import FleetOrder

#: Characters of the host's name that worker names keep; a name has 128 in all.
_HOST_CHARS_MAX = 48


def up(
    session: Session,
    profile: Annotated[
        str | None,
        typer.Argument(metavar="PROFILE", help="Name of a profile. Without one they are listed."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Argument(metavar="MODULE:APP", help="The app. Default: what the profile names."),
    ] = None,
    *,
    restart_above: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="A worker that holds more, as 1GB, drains and begins anew.",
        ),
    ] = None,
) -> Answer:
    """Start the workers of a profile and keep them running, until stopped.

    SIGTERM or Ctrl-C lets every worker drain, a second one releases their jobs at once. A worker
    that ends is started again, after a wait that doubles while it fails. --json means JSON log
    lines; without PROFILE it is the document of penstock plan.
    """
    config = session.config()
    if profile is None:
        fleet.list_profiles(session.output, config)
        return None
    order = _order(session, config, profile, target, restart_above)
    for warning in config.warnings:
        session.output.note(f"warning: {warning}")
    needed = fleet.planned(config, fleet.find(config, profile), fleet.machine())
    for text in fleet.misfits(needed):
        session.output.note(f"warning: {text}; see penstock plan {profile}")
    return _run(session, config, order)


def _order(
    session: Session,
    config: Config,
    profile: str,
    target: str | None,
    restart_above: str | None,
) -> FleetOrder:
    """Check everything that can be checked before a worker is started."""
    import msgspec

    from penstock.fleet.order import FleetOrder
    from penstock.fleet.role import roles_of

    found = fleet.find(config, profile)
    refuse_memory(config.settings.url, config.values["url"].origin)
    if restart_above is not None:
        size_bytes(restart_above, name="--restart-above")
    app = None if target is None else whole_target(target)
    workers = tuple(_told(one, app, profile) for one in found.workers)
    found = msgspec.structs.replace(found, workers=workers)
    host = re.sub(r"[^A-Za-z0-9_.:-]", "-", socket.gethostname())[:_HOST_CHARS_MAX] or "localhost"
    return FleetOrder(
        profile=profile,
        roles=tuple(roles_of(found, config.tables.queues)),
        host=host,
        flags=_flags(session, restart_above),
        errors_as_json=session.output.as_json,
        debug=session.debug,
    )


def _flags(session: Session, restart_above: str | None) -> dict[str, str]:
    """Return the settings of all workers that the command line says."""
    said = {"url": session.url, "restart_above": restart_above}
    flags = {name: value for name, value in said.items() if value is not None}
    return {**flags, "log_format": "json"} if session.output.as_json else flags


def _told(worker: WorkerTable, app: str | None, profile: str) -> WorkerTable:
    """Return a worker's table with what the command line says; its app is there to be imported."""
    import msgspec

    if app is None:
        if worker.app is None:
            raise BadSetting(
                f"no app for worker {worker.name} of profile {profile}: name it, as penstock up "
                f'{profile} shop.jobs:app, or write app = "shop.jobs:app" below [profiles]'
            )
        app = whole_target(worker.app)
    check_module(app)
    return msgspec.structs.replace(worker, app=app)


def _run(session: Session, config: Config, order: FleetOrder) -> int:
    import asyncio

    from penstock.fleet.foreman import Foreman
    from penstock.telemetry import logs

    settings = config.settings
    form = "json" if session.output.as_json else settings.log_format
    logs.install(level=settings.log_level, form=form, current=lambda: None, file=settings.log_file)

    async def run() -> int:
        return await Foreman(order, settings, os.environ).run()

    return asyncio.run(run())
