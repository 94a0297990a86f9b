"""`penstock worker MODULE:APP`: check the call, then become the supervisor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from penstock.cli.command import Answer
from penstock.cli.session import Session, refuse_memory
from penstock.cli.target import Target, check_module, whole_target

if TYPE_CHECKING:
    from penstock.worker.supervisor.plan import WorkerPlan


def worker(  # noqa: PLR0913 - one parameter per option
    session: Session,
    target: Target,
    *,
    queues: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Queues to serve. Default: all that the app names."),
    ] = None,
    processes: Annotated[
        str | None, typer.Option(metavar="N", help="Runners, processes for light jobs. Default: 1.")
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(metavar="N", help="Threads and children together. Default: the CPU quota."),
    ] = None,
    coroutines: Annotated[
        str | None,
        typer.Option(metavar="N", help="async def jobs at once in each runner. Default: 100."),
    ] = None,
    light: Annotated[
        str | None,
        typer.Option(metavar="N", help="Further threads for light jobs. Default: half of those."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="What jobs may reserve, as 6GiB. Default: 85 % of what is there."
        ),
    ] = None,
    cpus: Annotated[
        str | None,
        typer.Option(metavar="N", help="CPUs for jobs with cpus=. Default: the CPU quota."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B", help="Labels for jobs with requires=.")
    ] = None,
    resources: Annotated[
        str | None, typer.Option(metavar="A=N,B=N", help="What jobs with resources= share.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(metavar="WHICH", help="GPUs: all, none, or indexes as 0,1. Default: all."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the worker. Default: the host's.")
    ] = None,
    burst: Annotated[bool, typer.Option("--burst", help="End once no job is left to do.")] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart runners when a source file changes.")
    ] = False,
    drain_grace: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Time for running jobs at a stop. Default: 25s."),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Hard limit where call and task name none."),
    ] = None,
    soft_timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Soft limit where call and task name none."),
    ] = None,
    restart_above: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Drain and begin anew above this memory, as 1GB. Default: never."
        ),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="human or json. Default: human.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="debug, info, warning or error. Default: info."),
    ] = None,
    log_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Log to this file, beside standard error."),
    ] = None,
) -> Answer:
    """Run jobs until stopped.

    SIGTERM or Ctrl-C drains: running jobs may finish within the grace, the rest is released without
    a charge; a second signal releases at once. SIGTSTP (Ctrl-Z) takes no further jobs, SIGCONT goes
    on. Every option is a setting too: see penstock config. --json means --log-format json.
    """
    from penstock.worker.supervisor.plan import WorkerPlan

    if session.output.as_json and log_format is None:
        log_format = "json"
    options = {
        "url": session.url, "queues": queues, "processes": processes, "concurrency": concurrency,
        "coroutines": coroutines, "light": light, "memory": memory, "cpus": cpus,
        "labels": labels, "resources": resources, "gpus": gpus, "worker_name": name,
        "drain_grace": drain_grace, "timeout": timeout, "soft_timeout": soft_timeout,
        "restart_above": restart_above,
        "log_format": log_format, "log_level": log_level, "log_file": log_file,
    }  # fmt: skip
    flags = {option: value for option, value in options.items() if value is not None}
    config = session.config(flags)
    refuse_memory(config.settings.url, config.values["url"].origin)
    app = whole_target(target)
    check_module(app)
    for warning in config.warnings:
        session.output.note(f"warning: {warning}")
    as_json, debug = session.output.as_json, session.debug
    plan = WorkerPlan(
        app=app, flags=flags, burst=burst, reload=reload, errors_as_json=as_json, debug=debug
    )
    return _become(plan)


def _become(plan: WorkerPlan) -> NoReturn:
    """Replace this process by the supervisor: nothing of the command line stays in its memory."""
    from penstock.worker.supervisor.launch import become_worker

    become_worker(plan, os.environ)
