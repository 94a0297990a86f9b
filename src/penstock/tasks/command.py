"""Tasks that run a program: any language, under the limits of an isolated job.

A command is a list of arguments with `{names}` in them, which are the parameters of the task. No
shell is between: a value is one argument, or a part of one, whatever characters it holds.
"""

from __future__ import annotations

import codecs
import contextlib
import inspect
import io
import os
import re
import select
import signal
import string
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final

import msgspec

from penstock.context import current_job
from penstock.errors import BadArguments, BadSetting, SerializationError
from penstock.executors.procfs import all_stats
from penstock.executors.signal_names import signal_name
from penstock.serializers.json import JsonWriter
from penstock.signals import Retry
from penstock.tasks.signature import CHECK

Value = str | int | float | bool
"""What can stand in an argument."""

#: Characters of the output that are kept as the result: the last ones, where a program says what
#: came of its work.
RESULT_CHARS_MAX: Final = 64 * 1024
#: Begins a line of output that tells progress: the JSON behind it replaces the job's progress.
PROGRESS_MARK: Final = "::progress "
#: Exit status that asks for another attempt: EX_TEMPFAIL of sysexits.h.
EXIT_RETRY: Final = 75
#: Bytes of one argument, its end not counted, that the kernel takes with pages of 4 KiB: execve(2).
ARGUMENT_BYTES_MAX: Final = 128 * 1024 - 1
#: What may begin with a dash and not be taken for options; -inf reads as -i -n -f.
_NUMBER: Final = re.compile(r"-[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
#: Seconds that a program, and what it started, is given to end after SIGTERM.
_TERM_S: Final = 1.0
#: Seconds in which the last words of a program are read that has ended.
_LAST_WORDS_S: Final = 0.1
#: Seconds between two looks at what was told to end.
_LOOK_S: Final = 0.02


class CommandFailed(Exception):
    """The program ended with another status than 0; the message holds its last lines."""


def command_function(name: str, arguments: Sequence[str]) -> Callable[..., str]:
    """Return a plain function that runs the program with its parameters filled in.

    Args:
        name: of the task.
        arguments: the program and its arguments; `{name}` stands for a parameter, `{{` and `}}` for
            braces.

    Raises:
        BadSetting: no program, or a placeholder that is no plain name.
    """
    words = [str(word) for word in arguments]
    names = _names(name, words)

    def run(**values: Value) -> str:
        return _run([_filled(word, values) for word in words], values)

    def check(values: dict[str, Any]) -> None:
        plain = {one: _plain(name, one, value) for one, value in values.items()}
        try:
            for word in words:
                _filled(word, plain)
        except ValueError as error:
            raise BadArguments(f"command {name}: {error}") from error

    parameters = [
        inspect.Parameter(one, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Value)
        for one in names
    ]
    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"Run {' '.join(words)}."
    run.__signature__ = inspect.Signature(parameters, return_annotation=str)  # type: ignore[attr-defined]
    run.__annotations__ = {**dict.fromkeys(names, Value), "return": str}
    setattr(run, CHECK, check)
    return run


def _plain(task: str, name: str, value: object) -> Value:
    """Return a value as the job will find it, before anything is enqueued.

    Raises:
        BadArguments: it is nothing that can stand in an argument.
        SerializationError: JSON cannot hold it.
    """
    if not isinstance(value, bytes | bytearray | memoryview):
        # Paths, instants, UUIDs and the like are text in JSON.
        plain = msgspec.json.decode(JsonWriter().write(value, f"argument {name} of {task}"))
        if isinstance(plain, str | int | float):
            return plain
    raise BadArguments(
        f"command {task}: argument {name} is {value!r:.80}: give text, a number or true/false; "
        "of anything else pass the path of a file that holds it"
    )


def _names(task: str, words: Sequence[str]) -> list[str]:
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise BadSetting(
            f"command {task}: {words!r:.80} is no list of texts: give one, as ['sort', '-n', "
            "'{path}']; no shell takes a line apart"
        )
    if not words or not words[0]:
        raise BadSetting(f"command {task}: the list of arguments is empty: begin it with a program")
    found: dict[str, None] = {}
    for word in words:
        try:
            parts = list(string.Formatter().parse(word))
        except ValueError as error:
            raise BadSetting(f"command {task}: argument {word!r:.80}: {error}") from error
        for _, field, spec, conversion in parts:
            if field is None:
                continue
            if not field.isidentifier() or spec or conversion:
                raise BadSetting(
                    f"command {task}: {{{field}}} in {word!r:.80} is no parameter: write {{name}}, "
                    "and {{ and }} for braces"
                )
            found[field] = None
    return list(found)


def _filled(word: str, values: dict[str, Value]) -> str:
    filled = word.format_map({name: _text(value) for name, value in values.items()})
    if "\0" in filled:
        raise ValueError(
            f"argument {filled!r:.80} holds a zero byte, which no argument of a program can: "
            "write it to a file, and pass its path"
        )
    if len(filled.encode()) > ARGUMENT_BYTES_MAX:
        raise ValueError(
            f"argument {filled!r:.40} has {len(filled.encode()):,} bytes, over the "
            f"{ARGUMENT_BYTES_MAX:,} that the kernel takes: write it to a file, and pass its path"
        )
    if filled.startswith("-") and not word.startswith("-") and not _NUMBER.match(filled):
        # What comes from outside must not become an option of the program.
        raise ValueError(
            f"argument {filled!r:.80} begins with a dash, as an option does: put ./ or -- before it"
        )
    return filled


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _run(words: list[str], values: dict[str, Value]) -> str:
    """Run the program: its arguments as JSON on stdin, its output into the job's log."""
    with tempfile.TemporaryFile() as arguments:
        # A pipe would fill up where a program writes all that it reads: both would wait for ever.
        arguments.write(msgspec.json.encode(values))
        arguments.seek(0)
        program = _started(words, arguments)
    said = _Said()
    try:
        for line in _lines(program):
            said.keep(line)
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    finally:
        _end(program)
    status = program.wait()
    output = said.text
    if status == EXIT_RETRY:
        raise Retry(reason=f"the program asked for another attempt (exit status {status})")
    if status != 0:
        how = f"exit status {status}" if status > 0 else signal_name(-status)
        raise CommandFailed(f"{words[0]} ended with {how}\n{output[-4_000:]}")
    return output


def _started(words: list[str], arguments: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        stdin=arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Signals for it reach what it has started too, and not the child.
        process_group=0,
    )


def _lines(program: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield the lines of a program's output, until it has ended and said its last.

    What it leaves running may hold its output open for ever, and is not waited for.
    """
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder("utf-8")("replace"), translate=True
    )
    rest = ""
    for data in _pieces(program):
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        yield from lines
        # Bound: a line without an end is cut, so that it costs no more than this.
        while len(rest) >= RESULT_CHARS_MAX:
            yield rest[:RESULT_CHARS_MAX]
            rest = rest[RESULT_CHARS_MAX:]
    if rest := rest + decoder.decode(b"", final=True):
        yield rest.rstrip("\n")


def _pieces(program: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert program.stdout is not None  # noqa: S101 - it is a pipe
    output, ended = program.stdout.fileno(), os.pidfd_open(program.pid)
    try:
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(ended, select.POLLIN)
        last_s: float | None = None
        while last_s is None or time.monotonic() < last_s:
            ready = dict(poll.poll(None if last_s is None else _LAST_WORDS_S * 1000))
            if output in ready:
                data = os.read(output, RESULT_CHARS_MAX)
                if not data:
                    return
                yield data
            if ended in ready:
                poll.unregister(ended)
                last_s = time.monotonic() + _LAST_WORDS_S
            elif last_s is not None and output not in ready:
                return
    finally:
        os.close(ended)


class _Said:
    """What a program said: all of it to the job's log, the last of it kept here."""

    def __init__(self) -> None:
        self._lines = deque[str]()
        self._chars = 0

    @property
    def text(self) -> str:
        return "\n".join(self._lines)[-RESULT_CHARS_MAX:]

    def keep(self, line: str) -> None:
        job = current_job()
        if line.startswith(PROGRESS_MARK):
            # What is no JSON, or is nested too deep for the broker, is an ordinary line.
            with contextlib.suppress(msgspec.DecodeError, SerializationError):
                job.progress(msgspec.json.decode(line.removeprefix(PROGRESS_MARK)))
                return
        job.log(line)
        self._lines.append(line)
        self._chars += len(line) + 1
        while self._chars - len(self._lines[0]) > RESULT_CHARS_MAX:
            self._chars -= len(self._lines.popleft()) + 1


def _end(program: subprocess.Popen[Any]) -> None:
    """End what is left of a program's group; if it runs on itself its job was interrupted.

    Invariant: the program is waited for last. Until then the number of its group is its own, and no
    signal can reach a stranger.
    """
    is_over = os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    if not is_over:
        _signal_group(program, signal.SIGTERM)
        end_s = time.monotonic() + _TERM_S
        while _group_lives(program) and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
    _signal_group(program, signal.SIGKILL)
    program.wait()
    if program.stdout is not None:
        program.stdout.close()


def _signal_group(program: subprocess.Popen[Any], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, number)


def _group_lives(program: subprocess.Popen[Any]) -> bool:
    return any(one.group == program.pid and one.is_alive for one in all_stats().values())
