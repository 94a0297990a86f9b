"""Scenarios that mostly wait, started together, each reported by a test of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self


class SideBySide:
    """Runs scenarios at once; use as a context, which waits for those that nobody asked about."""

    def __init__(self, scenarios: Mapping[str, Callable[[], object]]) -> None:
        """Start all scenarios, each in its thread."""
        self._pool = ThreadPoolExecutor(max(1, len(scenarios)))
        self._running = {name: self._pool.submit(run) for name, run in scenarios.items()}

    def wait(self, name: str) -> None:
        """Return when one scenario has ended; raise what it raised."""
        self._running[name].result()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Wait for all."""
        self._pool.shutdown()
