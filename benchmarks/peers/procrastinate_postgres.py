"""procrastinate on PostgreSQL. Tuned: 100 coroutines. Its default is 1."""

from __future__ import annotations

from typing import Any

import contract
from contract import URL, Argument, note_start
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=URL))


@app.task(name="noop", queue="q0")
async def noop(argument: Argument) -> Any:
    """Do nothing."""
    return note_start(argument)


class Peer(contract.Peer):
    """The app of this process, opened for plain code when that asks first."""

    is_open = False

    def prepare(self) -> None:
        """Make the tables in a new database."""
        self.plain()
        app.schema_manager.apply_schema()

    async def open(self) -> None:
        """Connect."""
        await app.open_async()

    async def close(self) -> None:
        """Let go."""
        await app.close_async()

    def enqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        self.plain().defer(argument=argument)

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await noop.defer_async(argument=argument)

    def enqueue_bulk(self, arguments: list[Argument]) -> None:
        """Put many no-ops in with one call."""
        self.plain().batch_defer(*({"argument": argument} for argument in arguments))

    def plain(self) -> Any:
        """Return the task, its app opened for plain code."""
        if not self.is_open:
            app.open()
            self.is_open = True
        return noop
