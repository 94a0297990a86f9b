"""The command `penstock`: every command of it, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated, TextIO

import typer

from penstock.cli import failure
from penstock.cli.command import Answer, command, group
from penstock.cli.commands import (
    cancel,
    config,
    dead,
    demo,
    doctor,
    enqueue,
    explain,
    job,
    jobs,
    new_key,
    plan,
    profile,
    purge,
    queues,
    replay,
    requeue,
    up,
    worker,
)
from penstock.cli.exits import Exit, PipeClosed
from penstock.cli.output import let_go_of
from penstock.cli.session import Session
from penstock.errors import BadSetting


def root(
    session: Session,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> Answer:
    """Background jobs that fit the machine.

    Every command takes --json: one JSON document on stdout, errors as one on stderr. Exit codes: 0
    all is well, 1 what was asked for failed, 2 wrong call, 3 no such job, queue or task, 4 refused,
    69 the broker cannot be reached, 78 a setting is wrong.
    """
    if not version:
        raise BadSetting("a command is missing: see penstock --help")
    from importlib.metadata import version as version_of

    if session.output.as_json:
        session.output.document({"version": version_of("penstock")})
    else:
        session.output.line(f"penstock {version_of('penstock')}")
    return None


def build() -> typer.Typer:
    """Return the whole command line."""
    app = group(None, "penstock", root, no_args_is_help=True)
    command(app, "demo", demo.demo)
    command(app, "worker", worker.worker)
    command(app, "up", up.up)
    command(app, "plan", plan.plan)
    command(app, "enqueue", enqueue.enqueue)
    command(app, "jobs", jobs.jobs)
    command(app, "job", job.job)
    command(app, "explain", explain.explain_job)
    of_queues = group(app, "queues", queues.queues)
    command(of_queues, "pause", queues.pause)
    command(of_queues, "resume", queues.resume)
    command(app, "profile", profile.profile)
    command(app, "cancel", cancel.cancel)
    command(app, "requeue", requeue.requeue)
    of_dead = group(app, "dead", dead.dead)
    command(of_dead, "show", dead.show)
    command(app, "replay", replay.replay)
    command(app, "purge", purge.purge)
    command(app, "doctor", doctor.doctor)
    command(app, "config", config.config)
    command(app, "new-key", new_key.new_key)
    return app


app = build()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: those of the process) name; return its exit code.

    No error leaves this function as a traceback, unless `--debug` asks for it.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # Any text can be printed in any locale; what it cannot show appears as an escape.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = app(words, prog_name="penstock", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the boundary
        return _failed(error, words, sys.stderr)
    return Exit.OK if code is None else int(code)


class _Unread(TextIOWrapper):
    """Standard output of a process that was started without one: nobody reads what is written."""

    def write(self, text: str, /) -> int:
        """Refuse, as a pipe without a reader does."""
        del text
        raise BrokenPipeError


def _open_closed_streams() -> None:
    """Give a process that was started with closed standard streams streams again.

    What stays closed would become the descriptor of the next file that is opened: of the database,
    or of what a worker's jobs print to.
    """
    # The lowest free descriptor is taken each time, so these get their own numbers.
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - a stream for the whole process
    if sys.stdout is None:
        sys.stdout = _Unread(open(os.devnull, "wb"))  # noqa: PTH123, SIM115 - the same
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the same


def _failed(error: BaseException, words: Sequence[str], stderr: TextIO) -> int:
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, PipeClosed | BrokenPipeError):
        let_go_of(sys.stdout)
        return Exit.PIPE_CLOSED
    # typer names Ctrl-C and a closed prompt `Abort` in some of its versions.
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return Exit.INTERRUPTED
    return failure.show(
        error,
        name=f"penstock {_command_of(words)}".rstrip(),
        as_json="--json" in words,
        debug="--debug" in words,
        stderr=stderr,
    )


def _command_of(words: Sequence[str]) -> str:
    """Return the command among the words of a call, "" where there is none.

    Any other word may hold a secret, as the value of --url does.
    """
    known = {one.name for one in app.registered_commands}
    known |= {one.name for one in app.registered_groups if isinstance(one.name, str)}
    before = ("", *words)
    return next(
        (
            word
            for last, word in zip(before, words, strict=False)
            if last != "--url" and word in known
        ),
        "",
    )
