"""Penstock on SQLite: class local is synchronous NORMAL, class fsync is FULL (the default).

Worker: `penstock worker penstock_sqlite:app`, one runner, default settings but for the log level.
"""

from __future__ import annotations

import os
from typing import Any

import contract
from contract import note_start

from penstock import App

app = App(
    f"sqlite:///{os.environ['BENCH_URL']}",
    settings={"durability": os.environ["BENCH_VARIANT"]},
)


@app.task
async def noop(argument: dict[str, Any]) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """The app of this process."""

    def enqueue(self, argument: dict[str, Any]) -> None:
        """Put one no-op in."""
        noop.enqueue(argument)

    def enqueue_bulk(self, arguments: list[dict[str, Any]]) -> None:
        """Put many no-ops in with one call."""
        app.enqueue_many([noop.call(argument) for argument in arguments])

    def enqueue_delayed(self, arguments: list[dict[str, Any]]) -> None:
        """Put many no-ops in that are due in an hour."""
        later = noop.using(delay="1h")
        app.enqueue_many([later.call(argument) for argument in arguments])
