"""Scenarios that mostly wait, started together."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.support.brokers import KINDS, Kind
from tests.support.postgres_server import shared_server

T = TypeVar("T")


class SideBySide:
    """Runs scenarios at once, each reported by a test of its own.

    Use as a context, which waits for those that nobody asked about.
    """

    def __init__(self, scenarios: Mapping[str, Callable[[], object]]) -> None:
        """Start all scenarios, each in its thread."""
        self._pool = ThreadPoolExecutor(max(1, len(scenarios)))
        self._running = {name: self._pool.submit(run) for name, run in scenarios.items()}

    @classmethod
    def of_stores(
        cls, run: Callable[[str, Path], object], kinds: Collection[str], folder: Path
    ) -> Self:
        """Start one scenario on a broker of each kind, given the kind and a folder of its own."""
        # Hazard: the server ends with the thread that started it, so that is not one of theirs.
        shared_server()
        # Race: pytest parses what it imports, and in CPython 3.11 no two threads may parse at once.
        for kind in kinds:
            importlib.import_module(f"penstock.brokers.{kind}")
        return cls({kind: partial(run, kind, folder / kind) for kind in kinds})

    def wait(self, name: str) -> object:
        """Return what one scenario returned, once it has ended; raise what it raised."""
        return self._running[name].result()

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


def on_each_broker(
    run: Callable[[Kind], T], *, at_once: int = len(KINDS), kinds: Sequence[Kind] = KINDS
) -> dict[Kind, T]:
    """Run a scenario on a broker of each kind, and return what each came to.

    Args:
        run: given the kind.
        at_once: how many run side by side; 1 where figures of one would tell of the others.
        kinds: which brokers, where not all.

    Raises:
        Exception: what the one that failed raised, with the name of its broker.
        ExceptionGroup: of these, where several failed.
    """
    with ThreadPoolExecutor(at_once) as pool:
        running = {kind: pool.submit(run, kind) for kind in kinds}
    errors: list[Exception] = []
    for kind, one in running.items():
        error = one.exception()
        if isinstance(error, Exception):
            error.add_note(f"on {kind}")
            errors.append(error)
    if len(errors) > 1:
        raise ExceptionGroup("several brokers", errors)
    for error in errors:
        raise error
    return {kind: one.result() for kind, one in running.items()}
