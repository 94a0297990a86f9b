"""What is printed when a command fails: one line on stderr, or one JSON document with `--json`."""

from __future__ import annotations

import traceback
from typing import TextIO

import msgspec

from penstock.broker.urls import masked_in
from penstock.cli.exits import Exit, exit_of
from penstock.cli.output import printable, safe_json
from penstock.errors import PenstockError


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON form of an error, under the key `error`.

    Attributes:
        kind: class of the error, see the reference page of errors; "Usage" where the command line
            does not parse; "Misconfigured", "NotFound" and "Declined" go with exit codes 78, 3, 4.
        message: names the value, the rule, and the way out.
        exit_code: what the command ends with.
        retry_after_s: where the broker said when a new try is worth while.
        job_id: the job that the error is about.
    """

    kind: str
    message: str
    exit_code: int
    retry_after_s: float | None = None
    job_id: str | None = None


def show(error: BaseException, *, name: str, as_json: bool, debug: bool, stderr: TextIO) -> Exit:
    """Print `error` for the command `name` and return the exit code."""
    code = _exit_code(error)
    if debug:
        lines = "".join(traceback.format_exception(error)).splitlines()
        stderr.write("".join(printable(line) + "\n" for line in lines))
    message = _message(error, debug=debug)
    if as_json:
        failure = Failure(
            kind=_kind(error),
            message=message,
            exit_code=code,
            retry_after_s=getattr(error, "retry_after_s", None),
            job_id=getattr(error, "job_id", None),
        )
        stderr.write(safe_json(msgspec.json.encode({"error": failure}).decode()) + "\n")
    elif type(error).__name__ == "NoArgsIsHelpError":
        stderr.write(message + "\n")
    else:
        # One line at least; a message may have more, such as the traceback of a dead job.
        text = "\n".join(printable(line) for line in message.splitlines())
        stderr.write(f"{name}: {text}\n")
    stderr.flush()
    return code


def _exit_code(error: BaseException) -> Exit:
    # The parser of the command line (typer, in click's manner) has its own errors and codes.
    code = getattr(error, "exit_code", None)
    return Exit(code) if code in set(Exit) else exit_of(error)


def _kind(error: BaseException) -> str:
    return "Usage" if hasattr(error, "format_message") else type(error).__name__


def _message(error: BaseException, *, debug: bool) -> str:
    if (of_parser := getattr(error, "format_message", None)) is not None:
        # A URL in the wrong place is repeated by the parser as it stands.
        text = masked_in(str(of_parser()))
        if text.startswith("Usage:"):
            return text
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "penstock"
        end = "" if text.endswith(("?", ".")) else "."
        return f"{text}{end} See {path} --help"
    if isinstance(error, PenstockError):
        return str(error)
    kind = type(error).__name__
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    advice = "" if debug else "; run it again with --debug to see where"
    return f"unexpected {kind}: {error}{advice}"
