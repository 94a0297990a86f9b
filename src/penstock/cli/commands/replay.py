"""`penstock replay FILE`: run the job of a bundle here, once, under a limit."""

from __future__ import annotations

import math
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.command import Answer
from penstock.cli.exits import Exit
from penstock.cli.replayed import Heard, ReplayDocument, fields, output_aside
from penstock.cli.session import Session
from penstock.cli.target import load_app, whole_target
from penstock.cli.times import seconds
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.cli.recipe import Recipe
    from penstock.core.job import Claimed, JobSpec
    from penstock.core.manifest import AppManifest

#: Bytes that a worker must be able to reserve, whatever the job needs.
_BUDGET_BYTES_MIN = 64 * 2**20


def replay(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `penstock dead show ID --bundle` wrote.")
    ],
    *,
    app: Annotated[
        str | None,
        typer.Option(metavar="MODULE:APP", help="The app. Default: :app of the task's module."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What it may not pass. Default: as the last time."),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Hard limit; 0s: none. Default: as the last time."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=@FILE",
            help="A secret argument, as text: NAME=@FILE or NAME=env:VARIABLE. As JSON: NAME:=... "
            "May be repeated.",
        ),
    ] = None,
) -> Answer:
    """Run the job of a bundle here, once, as a worker would run it in a child.

    No broker is asked: what the job enqueues is counted and does not run. Its last checkpoint is
    there. Log and progress are shown as they come, on stderr. Exits with 0 if it completed, else 1.

    JSON: {"id", "task", "outcome", "verdict", "error", "limit_bytes", "usage", "took_ms", "result",
    "progress", "log", "enqueued", "differs"}.
    """
    from penstock.cli import recipe as r
    from penstock.core.units import duration_ms, size_bytes

    recipe = r.read(file)
    limit = None if memory is None else size_bytes(memory, name="--memory")
    seconds(timeout, "--timeout")
    wanted = r.Wanted(
        limit,
        None if timeout is None else duration_ms(timeout, name="--timeout", is_outside=True),
        r.secret_values(secret or [], os.environ),
    )
    job = r.job_of(recipe, wanted, now_ms=session.now_ms())
    place = whole_target(app or _module_of(job.spec.task))
    with output_aside(active=session.output.as_json):
        found = load_app(place)
        # Refused here, a task that is not there; what else is wrong, the child says.
        found.registry[job.spec.task]
        document = _run(session, job, place, found.manifest(), recipe)
    if session.output.as_json:
        session.output.document(document)
    else:
        session.output.fields(fields(document))
    return Exit.OK if document.outcome == "succeeded" else Exit.FAILED


def _module_of(task: str) -> str:
    """Return the module of a task that is named as tasks are where nobody names them.

    A bundle comes from somewhere else: a module that it names is imported only where it lies in the
    working directory, as the user's own code does.

    Raises:
        BadSetting: there is no such module there.
    """
    module, _, _ = task.rpartition(".")
    is_name = bool(module) and all(part.isidentifier() for part in module.split("."))
    at = Path(*module.split(".")) if is_name else None
    if at is None or not (at.with_suffix(".py").is_file() or (at / "__init__.py").is_file()):
        raise BadSetting(
            f"task {task!r:.200} is of no module in the working directory: go to where its code "
            "is, or give --app MODULE:APP"
        )
    return module


def _flags(spec: JobSpec) -> dict[str, Any]:
    """Return the settings of a worker that has just what the job takes; GPUs are found, not set.

    Raises:
        BadSetting: only a newer release knows what it takes.
    """
    from penstock.core.demand import cpus_text, demand_of

    demand, flags = demand_of(spec.need), dict[str, Any]()
    if demand is None:
        raise BadSetting("the job takes something that only a newer Penstock knows: use that one")
    if spec.memory_bytes is not None:
        # A budget has whole MiB, and this one must hold the job.
        mib = math.ceil(max(spec.memory_bytes, _BUDGET_BYTES_MIN) / 2**20)
        flags["memory"] = f"{mib}MiB"
    if demand.cpus_milli:
        flags["cpus"] = cpus_text(demand.cpus_milli)
    if demand.labels:
        flags["labels"] = ",".join(demand.labels)
    if demand.resources:
        flags["resources"] = ",".join(f"{name}={count}" for name, count in demand.resources)
    return flags


def _run(
    session: Session, job: Claimed, place: str, manifest: AppManifest, recipe: Recipe
) -> ReplayDocument:
    import asyncio

    from penstock.executors.process import keep_descriptors
    from penstock.worker.secrecy import hide_from_user
    from penstock.worker.supervisor.plan import WorkerPlan
    from penstock.worker.supervisor.replay import replay as run

    flags = _flags(job.spec)
    session.config(flags)
    hide_from_user()
    keep_descriptors()
    heard = Heard(session.output, deque(maxlen=_LINES_MAX))
    began_ms = session.now_ms()
    found = asyncio.run(
        run(
            job,
            plan=WorkerPlan(app=place, flags=flags),
            environ=dict(os.environ),
            manifest=manifest,
            tell=heard.hear,
        )
    )
    return ReplayDocument.of(job, found, heard, recipe, took_ms=session.now_ms() - began_ms)


#: Log lines that are kept for the JSON document, as many as with a job.
_LINES_MAX = 1_000
