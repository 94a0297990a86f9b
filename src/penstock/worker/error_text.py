"""An exception as text that can be stored: capped, valid UTF-8, and never an exception itself.

User code may raise anything: text of many megabytes, text that UTF-8 cannot hold, a class whose
`__str__` raises. What is stored is bounded and readable whatever it was (SEC13: it is text, and is
never raised again by its name).
"""

from __future__ import annotations

import importlib
import re
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final

from penstock.broker.requests import ERROR_BYTES_MAX
from penstock.core.job import StoredError

#: Bytes of an error's message; the traceback, which repeats it, has ERROR_BYTES_MAX.
MESSAGE_BYTES_MAX: Final = 8_192
#: Characters of an exception's class name; longer ones are made by machines.
_KIND_CHARS_MAX: Final = 200
#: Frames under this folder are Penstock's own and say nothing about the user's mistake; those of
#: the demo's tasks are a user's.
_OWN_CODE: Final = str(Path(__file__).resolve().parents[1])
_DEMO_CODE: Final = str(Path(_OWN_CODE, "demo"))
#: Frames of the import system stand between any module and the one that imports it.
_IMPORT_CODE: Final = str(Path(importlib.__file__).parent)
#: Where a traceback says it happened: (file, line). Code without a file is written as "<...>".
_PLACE: Final = re.compile(r'^ *File "([^<].*)", line (\d+)', re.MULTILINE)
#: Where the message of a syntax error repeats its place, with a part of the file's name.
_SYNTAX_PLACE: Final = re.compile(r" \([^()]*, line \d+\)\Z")


def stored_error(error: BaseException) -> StoredError:
    """Return an exception as text; its traceback starts at the first frame that is not Penstock's.

    Where all frames are Penstock's (a payload that cannot be read) there is no traceback: it would
    say nothing about the user's mistake.

    Cost: some 100 us for a plain exception, most of it reading source lines.
    """
    frames = _users_part(error.__traceback__)
    return StoredError(
        kind=clean(type(error).__name__)[:_KIND_CHARS_MAX],
        message=capped(message_of(error), MESSAGE_BYTES_MAX),
        traceback=(
            None if frames is None else capped(_traceback_of(error, frames), ERROR_BYTES_MAX)
        ),
    )


def import_failure(app: str, error: StoredError) -> str:
    """Return one line on an app whose import raised: the error, its place, and the way out.

    The place is the deepest one in a user's file: where a task's option is wrong, the frames below
    it are Penstock's.

    Args:
        app: "module:attribute".
        error: with its traceback.
    """
    text = " ".join(f"{error.kind}: {error.message}".split())
    places = [
        (file, line)
        for file, line in _PLACE.findall(error.traceback or "")
        if not _is_own(file) and not file.startswith(_IMPORT_CODE)
    ]
    if places:
        file, line = places[-1]
        text = f"{_SYNTAX_PLACE.sub('', text)} ({file}, line {line})"
    return f"app {app!r} cannot be imported: {text}; mend the module; --debug shows the traceback"


def message_of(error: BaseException) -> str:
    """Return `str(error)`, or words about it where that raises."""
    try:
        return str(error)
    except BaseException as flaw:  # noqa: BLE001 - a hostile __str__ may raise anything
        return f"<its __str__ raised {type(flaw).__name__}>"


def clean(text: str) -> str:
    """Return text that UTF-8 can hold: lone surrogates are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def capped(text: str, bytes_max: int) -> str:
    """Return clean text of at most `bytes_max` bytes: head and tail, and how much is left out."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= bytes_max:
        return data.decode("utf-8")
    mark = f"\n... {len(data) - bytes_max} bytes left out ...\n"
    kept = (bytes_max - len(mark.encode())) // 2
    head = data[:kept].decode("utf-8", "ignore")
    tail = data[-kept:].decode("utf-8", "ignore")
    return f"{head}{mark}{tail}"


def _traceback_of(error: BaseException, frames: TracebackType) -> str:
    try:
        return "".join(
            traceback.TracebackException(type(error), error, frames, compact=True).format()
        )
    except BaseException as flaw:  # noqa: BLE001 - hostile classes can break the formatting itself
        return f"<the traceback could not be written: {type(flaw).__name__}>"


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the leading frames of Penstock; None if there are no others."""
    part = frames
    while part is not None and _is_own(part.tb_frame.f_code.co_filename):
        part = part.tb_next
    return part


def _is_own(file: str) -> bool:
    return file.startswith(_OWN_CODE) and not file.startswith(_DEMO_CODE)
