"""What commands print: one JSON document, or tables and lines for people.

Answers go to stdout, remarks to stderr. Text that comes from jobs (names, errors, log lines) may
hold anything; control characters are shown as escapes, so that a job cannot drive a terminal.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec

from penstock.cli.exits import OutputLost

if TYPE_CHECKING:
    from rich.console import Console

#: Columns when the output is no terminal: wide enough that nothing is cut.
_UNBOUNDED_COLUMNS: Final = 100_000
#: Characters between columns.
_GAP: Final = 2
#: Characters that a column is worth showing with; fewer say nothing.
_LEAST_CHARACTERS: Final = 12
#: DEL, C1 controls, Unicode's line ends, and marks that reorder what is shown.
_STEERING: Final = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: Word -> colour on terminals: states, answers and outcomes.
_STYLES: Final = {
    "completed": "green", "succeeded": "green", "ok": "green", "done": "green",
    "running": "cyan", "queued": "blue", "scheduled": "blue", "blocked": "blue",
    "retrying": "yellow", "paused": "yellow", "warning": "yellow", "requested": "yellow",
    "dead": "red", "crashed": "red", "failed": "red", "problem": "red", "lost": "red",
    "cancelled": "magenta", "expired": "magenta",
}  # fmt: skip


def let_go_of(stream: TextIO) -> None:
    """Point a stream elsewhere, so that the interpreter's last flush does not complain."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a descriptor is wanted
        os.dup2(nowhere.fileno(), stream.fileno())


def printable(text: str) -> str:
    """Return `text` with every character that is not printable as its escape; tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or c == "\t"
        else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def safe_json(text: str) -> str:
    """Return JSON with the characters escaped that steer terminals and that JSON allows in text."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Column(msgspec.Struct, frozen=True):
    """One column of a table. Numbers are never cut.

    Attributes:
        title: stands over it.
        whole: never cut, however narrow the terminal: ids, which people copy.
        wraps: broken into lines instead of cut: sentences.
        right: numbers.
        spare: where the terminal is too narrow, columns are left out, the highest number first;
            0: never.
    """

    title: str
    whole: bool = False
    wraps: bool = False
    right: bool = False
    spare: int = 0


def _fitting(
    columns: Sequence[Column], rows: list[list[str]], width: int
) -> tuple[list[Column], list[list[str]]]:
    """Return the columns, and their cells, that a terminal of `width` characters has room for."""
    kept = list(range(len(columns)))

    def needed(place: int) -> int:
        column = columns[place]
        longest = max([len(column.title), *(len(row[place]) for row in rows)])
        uncut = column.whole or column.right
        return (longest if uncut else min(longest, _LEAST_CHARACTERS)) + _GAP

    while sum(map(needed, kept)) - _GAP > width:
        spare = max(kept, key=lambda place: columns[place].spare)
        if columns[spare].spare == 0:
            break
        kept.remove(spare)
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in rows]


class Output:
    """Where a command's answer goes. One instance per command."""

    def __init__(
        self, *, as_json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        """Print to `stdout` and `stderr`, by default the process's own."""
        self.as_json = as_json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._progress_shown = False

    @property
    def is_terminal(self) -> bool:
        """Whether people look at the answer as it comes."""
        return self._stdout.isatty() and os.environ.get("TERM") != "dumb"

    def document(self, value: Any) -> None:
        """Print one JSON document on stdout: one line, or indented on a terminal."""
        text = msgspec.json.encode(value)
        if self._stdout.isatty():
            text = msgspec.json.format(text, indent=2)
        self._write(safe_json(text.decode()))

    def line(self, text: str = "") -> None:
        """Print one line for people on stdout."""
        self._write(printable(text))

    def note(self, text: str) -> None:
        """Print a remark for people on stderr; nothing in JSON mode."""
        if not self.as_json:
            self._clear_progress()
            self._stderr.write(printable(text) + "\n")
            self._stderr.flush()

    def progress(self, text: str) -> None:
        """Say how far a long command is, on stderr, in place; nothing unless people look on."""
        if not self.as_json and self._stderr.isatty():
            self._stderr.write(f"\r{printable(text)}\x1b[K")
            self._stderr.flush()
            self._progress_shown = True

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """Print a table: a header, then a line per row; cut to the width on terminals only."""
        from rich.table import Table
        from rich.text import Text

        shown = [[printable(cell) for cell in row] for row in rows]
        if self.is_terminal:
            columns, shown = _fitting(columns, shown, self.console().width)
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
        for column in columns:
            table.add_column(
                column.title,
                no_wrap=column.whole or column.right,
                justify="right" if column.right else "left",
                min_width=4,
            )
        for row in shown:
            cells = [Text(cell, style=_STYLES.get(cell, "")) for cell in row]
            for column, cell in zip(columns, cells, strict=True):
                if not column.wraps:
                    cell.no_wrap, cell.overflow = True, "ellipsis"
            table.add_row(*cells)
        self._render(table)

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Print `name  value` lines, the values aligned; lines of a value stay lines."""
        shown = list(pairs)
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            first, *rest = value.splitlines() or [""]
            self.line(f"{name:<{width}}  {first}".rstrip())
            for more in rest:
                self.line(f"{'':<{width}}  {more}")

    def console(self, *, width: int | None = None) -> Console:
        """Return a rich console on stdout; it honours NO_COLOR and writes no colour to files."""
        from rich.console import Console

        return Console(file=self._stdout, width=width, highlight=False, markup=False, emoji=False)

    def _render(self, renderable: Any) -> None:
        from rich.console import Console

        real = self.console(width=None if self.is_terminal else _UNBOUNDED_COLUMNS)
        drawn = io.StringIO()
        Console(
            file=drawn,
            width=real.width,
            force_terminal=self.is_terminal,
            color_system="auto" if self.is_terminal else None,
            highlight=False,
            markup=False,
            emoji=False,
        ).print(renderable)
        # Tables pad every cell; blanks at the ends of lines only get in the way of other programs.
        for line in drawn.getvalue().splitlines():
            self._write(line.rstrip())

    def _clear_progress(self) -> None:
        if self._progress_shown:
            self._stderr.write("\r\x1b[K")
            self._stderr.flush()
            self._progress_shown = False

    def _write(self, line: str) -> None:
        self._clear_progress()
        try:
            self._stdout.write(line + "\n")
            self._stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            let_go_of(self._stdout)
            raise OutputLost(
                f"standard output cannot be written ({error.strerror or error}); what the command "
                "did stays done"
            ) from error
