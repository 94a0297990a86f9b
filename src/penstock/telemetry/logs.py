r"""Log lines of workers: JSON for machines or one readable line for people.

Every line that is written while an attempt runs carries its job, task, attempt and queue, whoever
writes it. No value can forge a line: control characters are escaped, and what comes from outside is
capped (SEC21): `\n`, `\r` and ESC never reach the terminal or the file as they are.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO

import msgspec

from penstock.broker.requests import ERROR_BYTES_MAX
from penstock.core.job import Claimed
from penstock.errors import BadSetting

#: Bytes of one value of a line: message, name, field (reliability page, S21).
FIELD_BYTES_MAX: Final = 2_048
#: C0 and C1 controls, DEL, Unicode's line ends, and marks that reorder what is shown.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
#: Attributes that every record has; whatever else it has was given as `extra`.
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Fields that name the attempt, in the order in which they are shown; priority stands in lines
#: about an attempt (`fields_of`), not in those that its own code writes.
_ATTEMPT: Final = ("job", "task", "attempt", "queue", "priority")
_LEVEL_WIDTH: Final = 7
#: Highest code of a character that two hexadecimal digits can show.
_LATIN_MAX: Final = 0xFF


class AttemptFields(Protocol):
    """What is asked of the job that runs where a line is written; `context.CurrentJob` has it."""

    @property
    def id(self) -> str:
        """The job."""
        ...

    @property
    def task(self) -> str:
        """Name of its task."""
        ...

    @property
    def claim_number(self) -> int:
        """Number of the attempt."""
        ...

    @property
    def queue(self) -> str:
        """Its queue."""
        ...


Current = Callable[[], AttemptFields | None]
"""Returns the job that runs here, None outside attempts."""


def install(
    *,
    level: str = "info",
    form: str = "human",
    current: Current,
    stream: TextIO | None = None,
    file: str = "",
) -> logging.Handler:
    """Write all log lines of this process to `stream`, in place of the handlers of the root logger.

    Args:
        level: "debug", "info", "warning" or "error".
        form: "human" or "json".
        current: tells which job runs where a line is written.
        stream: standard error where none is given.
        file: path of a file that every line is appended to as well; "": none. Several processes
            may share it.

    Raises:
        BadSetting: the file cannot be opened; logging is left as it was.
    """
    handlers: list[logging.Handler] = []
    if file:
        try:
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
        except OSError as error:
            raise BadSetting(
                f"log_file {file!r} cannot be opened ({error}): name a file in a folder that this "
                "user can write to"
            ) from error
    handlers.insert(0, logging.StreamHandler(sys.stderr if stream is None else stream))
    for handler in handlers:
        handler.addFilter(_Marking(current))
        handler.setFormatter(JsonFormatter() if form == "json" else HumanFormatter())
    logging.basicConfig(handlers=handlers, level=level.upper(), force=True)
    return handlers[0]


class _Marking(logging.Filter):
    """Puts the attempt's fields on each record that has none; it lets every record pass."""

    def __init__(self, current: Current) -> None:
        super().__init__()
        self._current = current

    def filter(self, record: logging.LogRecord) -> bool:
        job = self._current()
        if job is not None and not hasattr(record, "job"):
            record.job, record.task = job.id, job.task
            record.attempt, record.queue = job.claim_number, job.queue
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, the attempt's fields, the extra ones."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "at": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": capped(_message(record)),
            "pid": record.process,
        }
        given = vars(record)
        for name in (*_ATTEMPT, *sorted(given.keys() - _PLAIN - set(_ATTEMPT))):
            if name in given:
                value = given[name]
                line[name] = value if isinstance(value, int | float | None) else capped(str(value))
        trace = _trace(self, record)
        if trace:
            line["traceback"] = capped(trace, ERROR_BYTES_MAX)
        # msgspec escapes C0 controls; the others are legal in JSON and escaped for terminals.
        return _UNSAFE.sub(_as_json_escape, msgspec.json.encode(line).decode())


class HumanFormatter(logging.Formatter):
    """One line for people, and a traceback below it whose lines are all indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        line = (
            f"{_instant(record)} {record.levelname:<{_LEVEL_WIDTH}} {record.name}: "
            f"{safe(capped(_message(record)))}"
        )
        given = vars(record)
        marks = [f"{name}={safe(capped(str(given[name])))}" for name in _ATTEMPT if name in given]
        if marks:
            line += f" [{' '.join(marks)}]"
        trace = _trace(self, record)
        if trace:
            shown = capped(trace, ERROR_BYTES_MAX).split("\n")
            line += "".join(f"\n    | {safe(part)}" for part in shown)
        return line


def fields_of(job: Claimed) -> dict[str, Any]:
    """Return what every log line about an attempt carries, as `extra`."""
    return {
        "job": job.id,
        "task": job.spec.task,
        "attempt": job.claim_number,
        "queue": job.queue,
        "priority": job.spec.priority,
    }


def safe(text: str) -> str:
    r"""Return text without control characters: each is shown as `\xNN` or `\uNNNN`."""
    return _UNSAFE.sub(_as_escape, text)


def capped(text: str, bytes_max: int = FIELD_BYTES_MAX) -> str:
    """Return text that UTF-8 can hold, cut after `bytes_max` bytes with the cut marked."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= bytes_max:
        return data.decode("utf-8")
    return f"{data[:bytes_max].decode('utf-8', 'ignore')}... ({len(data)} bytes)"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - a bad log call must not cost the line
        return f"{record.msg!r} with arguments that do not fit ({type(error).__name__})"


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _instant(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _as_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= _LATIN_MAX else f"\\u{code:04x}"


def _as_json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
