"""How the demo looks while it runs: a live bar on terminals, lines elsewhere, nothing for JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, Self

from penstock.cli.output import Output, printable
from penstock.core.lifecycle import State

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Seconds between two progress lines where there is no terminal.
_LINE_S: Final = 1.0


class View(Protocol):
    """Where events and progress go. A context manager, so that a terminal is restored."""

    def event(self, text: str) -> None:
        """Tell that something happened."""
        ...

    def tick(self, done: int, total: int, states: Mapping[State, int]) -> None:
        """Tell how far the jobs are."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *failure: object) -> None: ...


class Silence:
    """Shows nothing: the answer is one JSON document."""

    def event(self, text: str) -> None:
        """Show nothing."""

    def tick(self, done: int, total: int, states: Mapping[State, int]) -> None:
        """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        return None


class Lines:
    """Lines with the seconds since the start."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Begin to count the seconds; `say` prints one line."""
        self._say = say
        self._began = time.monotonic()
        self._told = 0.0
        self._line = ""

    def event(self, text: str) -> None:
        """Print a line."""
        self._say(f"{time.monotonic() - self._began:6.2f} s  {text}")

    def tick(self, done: int, total: int, states: Mapping[State, int]) -> None:
        """Print a line when something has changed, once a second at most."""
        now = time.monotonic()
        line = f"{done} of {total} jobs are final: {told(states)}"
        if line != self._line and (now - self._told >= _LINE_S or done == total):
            self._told, self._line = now, line
            self.event(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        return None


class Bar:
    """A progress bar below the events, on terminals."""

    def __init__(self, output: Output) -> None:
        """Draw nothing yet."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        self._progress: Progress = Progress(
            BarColumn(bar_width=None, table_column=Column(ratio=1, max_width=40)),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=9)),
            TextColumn(
                "{task.description}",
                table_column=Column(ratio=3, no_wrap=True, overflow="ellipsis"),
            ),
            expand=True,
            console=output.console(),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("", total=None)
        # What is printed while a bar is live must go through the console that draws it.
        self._lines = Lines(self._print)

    def _print(self, text: str) -> None:
        from rich.text import Text

        # Cut at the edge: `penstock job` shows the whole error.
        self._progress.console.print(Text(printable(text)), no_wrap=True, overflow="ellipsis")

    def event(self, text: str) -> None:
        """Print a line above the bar."""
        self._lines.event(text)

    def tick(self, done: int, total: int, states: Mapping[State, int]) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, total=total, description=told(states))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._progress.stop()


def told(states: Mapping[State, int]) -> str:
    """Return the states that have jobs, with their numbers."""
    return ", ".join(f"{count} {state}" for state, count in states.items() if count)
