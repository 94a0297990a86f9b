"""`penstock demo`: the main job on real files, in a database of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.command import Answer
from penstock.cli.session import Session
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from penstock.cli.output import Output
    from penstock.demo.files import FileChoice
    from penstock.demo.summary import Summary
    from penstock.demo.view import View


def demo(
    session: Session,
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="Files to analyse. Default: the standard library of this Python.",
        ),
    ] = None,
    *,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="New folder for database, report and log. Default: a temporary one.",
        ),
    ] = None,
) -> Answer:
    """Show Penstock at work on real files.

    Starts a worker, enqueues a job per file, a merge job after them all, one that fails twice, one
    that always fails, and one whose runner is killed half way. Ends with a summary read from the
    database, which stays, so that every number can be checked. Needs nothing else. JSON:
    {"database", "url", "report", "log", "root", "files", "left_out", "summary": {...}}.
    """
    if session.url is not None:
        raise BadSetting(
            "--url is not for the demo: it makes a new database each time; --into says where"
        )
    from penstock.demo import files
    from penstock.demo.stage import play

    choice = files.standard_library() if folder is None else files.folder(folder)
    place = _place(into)
    out = session.output
    if not out.as_json:
        _announce(out, choice, place, is_default=folder is None)
    # A supervisor of processes must be asked to stop too when it is not by Ctrl-C.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        with _view(out) as view:
            summary = play(choice, place, os.environ, view)
    except (KeyboardInterrupt, SystemExit):
        out.note(f"stopped; what was done so far stays in {place}")
        raise
    _finish(out, choice, place, summary)
    return None


def _place(into: str | None) -> Path:
    """Make the folder of this run. Raises BadSetting when it cannot be made or is not empty."""
    if into is None:
        return Path(tempfile.mkdtemp(prefix="penstock-demo-")).resolve()
    place = Path(into).resolve()
    try:
        place.mkdir(parents=True, exist_ok=True)
        if any(place.iterdir()):
            raise BadSetting(f"--into {into!r} is not empty: name a new folder, or empty it first")
    except OSError as error:
        raise BadSetting(
            f"--into {into!r} cannot be made a folder ({error.strerror}): name another one"
        ) from error
    return place


def _announce(out: Output, choice: FileChoice, place: Path, *, is_default: bool) -> None:
    what = "modules of the standard library" if is_default else "files"
    passed = f", {choice.left_out} passed over" if choice.left_out else ""
    out.line(f"{len(choice.paths)} {what} in {choice.root}{passed}")
    out.line(f"database, report and log in {place}")
    out.line()


def _view(out: Output) -> View:
    from penstock.demo.view import Bar, Lines, Silence

    if out.as_json:
        return Silence()
    return Bar(out) if out.is_terminal else Lines(out.line)


def _finish(out: Output, choice: FileChoice, place: Path, summary: Summary) -> None:
    from penstock.connect import sqlite_url
    from penstock.demo.closing import lines

    database = place / "penstock.db"
    url = sqlite_url(database)
    if out.as_json:
        out.document(
            {
                "database": str(database),
                "url": url,
                "report": str(place / "report.md"),
                "log": str(place / "worker.log"),
                "root": choice.root,
                "files": len(choice.paths),
                "left_out": choice.left_out,
                "summary": summary,
            }
        )
        return
    out.line()
    for line in lines(summary, database=str(database), command=f"{_program()} VERB --url {url}"):
        out.line(line)
    out.line(f"remove it  rm -r {place}")


def _program() -> str:
    """Return how this program is called: by its name where that finds it, else by its path."""
    found = shutil.which("penstock")
    called = Path(sys.argv[0])
    if called.name != "penstock":
        return f"{sys.executable} -m penstock.cli"
    return "penstock" if found and Path(found).resolve() == called.resolve() else str(called)


def _stop(number: int, frame: Any) -> None:
    del frame
    sys.exit(128 + number)
