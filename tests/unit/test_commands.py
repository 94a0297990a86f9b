"""Commands: which parameters they have, and what becomes of their values."""

from __future__ import annotations

import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from penstock import App
from penstock.errors import BadArguments, BadSetting, SerializationError
from penstock.tasks.command import (
    ARGUMENT_BYTES_MAX,
    RESULT_CHARS_MAX,
    CommandFailed,
    command_function,
)
from penstock.testing import Sandbox

ECHO = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]


def test_placeholders_are_parameters() -> None:
    """By position in the order of their first use, or by name; and no others are taken."""
    app = App("memory://")
    task = app.command("show", [*ECHO, "{path}", "--k={k}", "{{path}}"])
    with Sandbox(app) as sandbox:
        jobs = [task.enqueue("a b; $HOME", 3), task.enqueue(k=True, path="x")]
        sandbox.drain()
        assert [job.result() for job in jobs] == [
            "['a b; $HOME', '--k=3', '{path}']",
            "['x', '--k=true', '{path}']",
        ]
    with pytest.raises(BadArguments, match="other"):
        task.call("a", 1, other=2)
    with pytest.raises(BadArguments):
        task.call("a", ["no", "list"])


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        (("a",), {}, "missing a required argument: 'k'"),
        ((), {"k": 1}, "missing a required argument: 'path'"),
        (("a", 1, 2), {}, "too many positional arguments"),
        (("a",), {"k": 1, "seed": 3}, "got an unexpected keyword argument 'seed'"),
        (("a", None), {}, "command show: argument k is None: give text, a number or true/false"),
        ((["a"], 1), {}, r"argument path is \['a'\]: give text, a number or true/false"),
        (("a", {"b": 1}), {}, "argument k is {'b': 1}: give text"),
        ((b"raw", 1), {}, "argument path is b'raw': give text"),
        ((object(), 1), {}, "argument path of show"),
        (("a\0b", 1), {}, "argument 'a.x00b' holds a zero byte, .*: write it to a file"),
        (("-rf", 1), {}, "argument '-rf' begins with a dash, as an option does: put ./ or --"),
        ((ARGUMENT_BYTES_MAX * "x" + "x", 1), {}, "131,072 bytes, over the 131,071 that the ker"),
    ],
)
def test_a_call_that_the_program_could_not_be_given_is_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], told: str
) -> None:
    """Where it is enqueued: what is wrong, the rule and the way out; no job is made."""
    app = App("memory://")
    task = app.command("show", [*ECHO, "{path}", "--k={k}"])
    with Sandbox(app) as sandbox:
        with pytest.raises((BadArguments, SerializationError), match=told):
            task.enqueue(*args, **kwargs)
        assert sandbox.drain() == []


def test_what_json_writes_as_text_is_text() -> None:
    """Paths, days and the like are given as they would be written."""
    app = App("memory://")
    task = app.command("show", [*ECHO, "{path}", "{day}"])
    with Sandbox(app) as sandbox:
        job = task.enqueue(Path("data/a.csv"), date(2026, 1, 31))
        sandbox.drain()
        assert job.result() == "['data/a.csv', '2026-01-31']"


@pytest.mark.parametrize(
    "arguments", [[], [""], ["ls", "{}"], ["ls", "{0}"], ["ls", "{a.b}"], ["ls", "{a!r}"], ["{a"]]
)
def test_what_is_no_plain_name_is_refused(arguments: list[str]) -> None:
    """At once, with the argument and the way out."""
    with pytest.raises(BadSetting, match="command odd"):
        command_function("odd", arguments)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("-rf", False),
        ("--x", False),
        ("-inf", False),
        ("-nan", False),
        ("-5", True),
        ("-5.0e-3", True),
    ],
)
def test_a_value_never_becomes_an_option(value: str, *, fits: bool) -> None:
    """What begins with a dash is refused where it stands alone, unless it is a number."""
    function = command_function("show", [*ECHO, "{what}"])
    if fits:
        assert f"'{value}'" in run(function, value)
    else:
        with pytest.raises(ValueError, match="begins with a dash"):
            function(what=value)


def test_a_program_may_write_all_that_it_reads() -> None:
    """Neither waits for the other, whatever a pipe holds."""
    words = [f"'{letter}' {{{letter}}}" for letter in "abc"]
    task = command_function("copy", ["sh", "-c", "cat", *words])
    text = run(task, *("x" * 100_000 for _ in range(3)))
    assert text.endswith('x"}')
    assert len(text) == RESULT_CHARS_MAX


def test_what_a_program_leaves_running_is_not_waited_for() -> None:
    """Although it holds the output of the program open; all that was said is there."""
    say = "seq 20000; (sleep 600; echo late) & echo last"
    began_s = time.monotonic()
    lines = run(command_function("leaves", ["sh", "-c", say])).splitlines()
    assert time.monotonic() - began_s < 300
    assert lines[-2:] == ["20000", "last"]


def test_lines_end_as_they_do_on_any_system() -> None:
    """By a line feed, a carriage return, or both; the last one may have none."""
    text = run(command_function("ends", ["printf", r"a\r\nb\rc\n\303\244\377\nd"]))
    assert text.splitlines() == ["a", "b", "c", "\u00e4\ufffd", "d"]


def test_an_end_by_a_signal_without_a_name_is_told() -> None:
    """Of the real-time signals Python names the first and the last only."""
    with pytest.raises(CommandFailed, match="ended with signal 40"):
        command_function("shot", ["sh", "-c", "kill -40 $$"])()


def test_progress_that_no_broker_takes_is_a_line_of_the_log() -> None:
    """What is nested too deep, or no JSON, does not end the job."""
    deep = "[" * 80 + "]" * 80
    text = run(command_function("deep", ["echo", f"::progress {deep}"]))
    assert text == f"::progress {deep}"


def test_only_the_end_of_a_long_output_is_kept() -> None:
    """A result is capped, and what came last says what came of the work."""
    say = "print('x' * 100_000); print('the end')"
    text = run(command_function("long", [sys.executable, "-c", say]))
    assert text.endswith("the end")
    assert len(text) <= RESULT_CHARS_MAX


def run(function: object, *values: str) -> str:
    """Run a command as a job does."""
    app = App("memory://")
    task = app.task(name="it")(function)  # type: ignore[call-overload]
    with Sandbox(app) as sandbox:
        job = task.enqueue(*values)
        sandbox.drain()
        return str(job.result())
