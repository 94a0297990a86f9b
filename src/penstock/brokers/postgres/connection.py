"""A connection whose every wait has a limit, set up for this adapter.

psycopg waits as long as the server is silent, and a server behind a dead network, or one that is
stopped, is silent for ever. So each wait has a limit; what passes it closes the connection, because
the answer may still come and nobody would know to what.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.adapt import AdaptersMap, Buffer, Loader
from psycopg.pq import ConnStatus, Format, TransactionStatus
from psycopg.rows import TupleRow

from . import arrays
from .flight import FlightPipeline

#: Seconds; a connection that takes longer is taken for impossible: a producer is told of it within
#: one second, whatever else that takes. A local one takes 3 ms.
CONNECT_TIMEOUT_S: Final = 0.8
#: Seconds between looks for a signal while waiting, as psycopg has it.
_INTERVAL_S: Final = 0.1
#: Plans must not depend on how full the tables were when they were made: each statement has its
#: index. A transaction whose client stands still, or is cut off, ends after two seconds and lets
#: its locks go: later, and reapers that wait for them take the gap for an outage and hold. Who
#: waits for a row for longer than a tenth of a second may stand in a deadlock, which the server
#: looks for after a whole one only: it gives way and tries again.
_SETTINGS: Final = (
    b"SET jit = off; SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; "
    b"SET idle_in_transaction_session_timeout = '2s'; SET lock_timeout = '100ms'; "
    b"SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'"
)


class HexLoader(Loader):
    """Loads a uuid as the port writes ids: 32 hexadecimal digits."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        """Return the digits."""
        return bytes(data).hex()


def adapt(adapters: AdaptersMap) -> None:
    """Let a connection or a cursor speak as this adapter's statements expect."""
    adapters.register_loader("uuid", HexLoader)
    arrays.register(adapters)


class Connection(psycopg.Connection[TupleRow]):
    """One connection to the server.

    Attributes:
        patience_s: silence of the server after which waiting is given up.
    """

    patience_s: float = CONNECT_TIMEOUT_S

    @classmethod
    def open(cls, conninfo: str) -> Connection:
        """Connect, within `CONNECT_TIMEOUT_S`.

        Raises:
            psycopg.Error: no server, no such database, no right to enter, or no answer.
        """
        connection = waiting.wait_conn(
            cls._connect_gen(conninfo), interval=_INTERVAL_S, timeout=CONNECT_TIMEOUT_S
        )
        try:
            connection.set_autocommit(True)
            adapt(connection.adapters)
            connection.execute(_SETTINGS, prepare=False)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """Send what is run in the block in pieces that end in a sync; see `flight.py`."""
        # The library uses the one that it finds, and forgets it afterwards.
        self._pipeline = FlightPipeline(self)
        with super().pipeline() as pipeline:
            yield pipeline

    def wait(
        self, gen: PQGen[Any], interval: float = _INTERVAL_S, timeout: float | None = None
    ) -> Any:
        """Wait as psycopg does, but no longer than `patience_s`.

        Raises:
            psycopg.OperationalError: the server was silent for so long; the connection is closed.
        """
        started = time.monotonic()
        limit_s = self.patience_s if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit_s)
        except psycopg.OperationalError:
            was_silent = time.monotonic() - started > limit_s - _INTERVAL_S / 10
            if not was_silent or self.pgconn.status != ConnStatus.OK:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {limit_s:g} s") from None

    def is_usable(self) -> bool:
        """Return whether it is idle, and the server has not hung up. Cost: one system call."""
        if self.closed or self.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        # An idle connection has nothing to read, unless the server said goodbye.
        return not poll.poll(0)

    def __del__(self, *args: Any) -> None:
        """Warn of nothing: a connection of a pool may end with its program, and a child's copy."""
