"""pgqueuer on PostgreSQL with asyncpg. Tuned: batches of 100, uvloop. Its default is 10.

It stores no result of a job; its log row of the finished job stands in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import asyncpg
import contract
from contract import URL, Argument, note_start
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries


@contextlib.asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    """Give what `pgq run pgqueuer_postgres:main` runs."""
    connection = await asyncpg.connect(URL)
    worker = PgQueuer(AsyncpgDriver(connection))

    @worker.entrypoint("noop")
    async def noop(job: Job) -> None:
        note_start(json.loads(job.payload or b"{}"))

    yield worker
    await connection.close()


class Peer(contract.Peer):
    """One connection."""

    def prepare(self) -> None:
        """Make the tables in a new database."""
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        await self.open()
        await self.queries.install()
        await self.close()

    async def open(self) -> None:
        """Connect."""
        self.connection = await asyncpg.connect(URL)
        self.queries = Queries(AsyncpgDriver(self.connection))

    async def close(self) -> None:
        """Let go."""
        await self.connection.close()

    async def aenqueue(self, argument: Argument) -> None:
        """Put one no-op in."""
        await self.queries.enqueue("noop", json.dumps(argument).encode())

    async def aenqueue_bulk(self, arguments: list[Argument]) -> None:
        """Put many no-ops in with one call."""
        payloads = [json.dumps(argument).encode() for argument in arguments]
        count = len(payloads)
        await self.queries.enqueue(["noop"] * count, payloads, [0] * count)
