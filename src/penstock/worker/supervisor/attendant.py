"""Whoever attends to a runner: told what it says that is not for its own record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from penstock.core.ids import AttemptKey

if TYPE_CHECKING:
    from .runner_process import RunnerProcess


class Attendant(Protocol):
    """Who wants to know what a runner says."""

    def changed(self, runner: RunnerProcess) -> None:
        """Its phase has changed."""
        ...

    def watching(self, hard_boot_ms: int) -> None:
        """An attempt began that has to end by this boot time."""
        ...

    def yielded(self, runner: RunnerProcess, threads: int) -> None:
        """It runs at most `threads` plain `def` jobs now."""
        ...

    def paced(self, runs: Mapping[str, Mapping[str, float]]) -> None:
        """It tells what runs of plain tasks took."""
        ...

    def overran(self, runner: RunnerProcess, jobs: tuple[AttemptKey, ...]) -> None:
        """These attempts did not end in time after their cancel."""
        ...
