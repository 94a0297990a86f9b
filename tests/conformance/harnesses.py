"""The harnesses of our own brokers, and of copies of them (`mutant.py`)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import psycopg

from penstock.broker.protocol import Broker
from penstock.brokers import memory, postgres, redis, sqlite
from penstock.core.ids import JobId
from penstock.testing import ManualClock
from penstock.testing.conformance import Capability
from tests.support.postgres_server import shared_server
from tests.support.redis_server import RedisServer

#: Small, so that the cases about it stay fast.
PAYLOAD_BYTES_MAX = 4_096


class ManualTime:
    """The clock of a harness whose broker takes a `Clock`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._boots = 1

    def wall_ms(self) -> int:
        """Return wall time."""
        return self.clock.wall_ms()

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.clock.advance(ms)

    def step_wall(self, ms: int) -> None:
        """Set the wall clock."""
        self.clock.step_wall(ms)

    def reboot(self) -> None:
        """Start another boot."""
        self._boots += 1
        self.clock.reboot(f"boot-{self._boots}")


class MemoryHarness(ManualTime):
    """A store in memory."""

    capabilities = frozenset(Capability)
    payload_bytes_max = PAYLOAD_BYTES_MAX

    def __init__(self, folder: Path, package: Any = memory) -> None:  # noqa: ARG002 - as others
        super().__init__()
        self._package = package
        self.store = package.Store(self.clock)

    def open(self) -> Broker:
        """Return another handle on the store."""
        broker: Broker = self._package.MemoryBroker(
            self.clock, store=self.store, payload_bytes_max=self.payload_bytes_max
        )
        return broker

    def poison(self, job_id: JobId, spec: bytes) -> None:
        """Write over the stored spec."""
        self.store.jobs[job_id].spec = spec

    def close(self) -> None:
        """Nothing is left behind."""


class SqliteHarness(ManualTime):
    """A file on disk; each handle has its own connections, as another process would."""

    capabilities = frozenset(Capability)
    payload_bytes_max = PAYLOAD_BYTES_MAX

    def __init__(self, folder: Path, package: Any = sqlite) -> None:
        super().__init__()
        self._package = package
        self.path = folder / "conformance.db"
        self._handles: list[Broker] = []

    def open(self) -> Broker:
        """Open the file once more."""
        broker: Broker = self._package.SqliteBroker.open(
            self.path, clock=self.clock, payload_bytes_max=self.payload_bytes_max
        )
        self._handles.append(broker)
        return broker

    def poison(self, job_id: JobId, spec: bytes) -> None:
        """Write over the stored spec."""
        with closing(apsw.Connection(str(self.path))) as connection:
            connection.execute("UPDATE job SET spec = ?1 WHERE id = ?2", (spec, job_id))
            assert connection.changes() == 1

    def close(self) -> None:
        """Close the handles; the folder is the test's."""
        for broker in self._handles:
            broker.close()


#: The clock of scripts in the cases: what the harness wrote last.
MANUAL_CLOCK = """
local function instant(name)
  return tonumber(redis.call('HGET', KEYS[1] .. ':test_clock', name))
end
local function wall_ms() return instant('wall') end
local function lease_ms() return instant('lease') end
"""


class RedisHarness:
    """A root of keys on a server that many cases share, emptied before each."""

    capabilities = frozenset({Capability.WAKE, Capability.THREADS})
    payload_bytes_max = PAYLOAD_BYTES_MAX

    def __init__(self, server: RedisServer, package: Any = redis) -> None:
        self._server = server
        self._package = package
        self._client = server.client()
        self._handles: list[Broker] = []
        self._wall = self._lease = ManualClock().wall_ms()
        self._client.flushall()
        self._set_clock()

    def open(self) -> Broker:
        """Return another handle on the keys."""
        broker: Broker = self._package.RedisBroker.open(
            self._server.url,
            payload_bytes_max=self.payload_bytes_max,
            clock=MANUAL_CLOCK,
            answer_timeout_s=10,
        )
        self._handles.append(broker)
        return broker

    def wall_ms(self) -> int:
        """Return wall time."""
        return self._wall

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._wall += ms
        self._lease += ms
        self._set_clock()

    def step_wall(self, ms: int) -> None:
        """Set the wall clock."""
        self._wall += ms
        self._set_clock()

    def reboot(self) -> None:
        """No case for brokers without the capability asks for it."""
        raise NotImplementedError

    def poison(self, job_id: JobId, spec: bytes) -> None:
        """Write over the stored spec, behind its head."""
        short = bytes.fromhex(job_id[:16] + job_id[20:])
        for key in self._client.scan_iter("penstock:{*}:spec"):
            stored = self._client.hget(key, short)
            if stored is not None:
                assert isinstance(stored, bytes)
                parts = 1 if stored.startswith(b".") else 6
                head = b";".join(stored.split(b";", parts)[:parts])
                self._client.hset(key, short, head + b";" + spec)
                return
        raise AssertionError(f"job {job_id} is not stored")

    def close(self) -> None:
        """Close the handles."""
        for broker in self._handles:
            broker.close()
        self._client.close()

    def _set_clock(self) -> None:
        self._client.hset("penstock:test_clock", mapping={"wall": self._wall, "lease": self._lease})


class PostgresHarness(ManualTime):
    """Tables in the shared server, emptied for each case; the server's clock is ours to move."""

    #: No BOOT_ID: the clock of leases is the server's wall clock, which goes on over a restart.
    capabilities = frozenset(Capability) - {Capability.BOOT_ID}
    payload_bytes_max = PAYLOAD_BYTES_MAX

    def __init__(self, folder: Path, package: Any = postgres) -> None:  # noqa: ARG002 - as others
        super().__init__()
        self._package = package
        self._handles: list[Broker] = []
        self._connection = empty_tables()
        self._show_time()

    def open(self) -> Broker:
        """Open the database once more."""
        broker: Broker = WARM.open(self._package, self.payload_bytes_max)
        self._handles.append(broker)
        return broker

    def advance(self, ms: int) -> None:
        """Let time pass on the server."""
        super().advance(ms)
        self._show_time()

    def step_wall(self, ms: int) -> None:
        """Set the server's wall clock."""
        super().step_wall(ms)
        self._show_time()

    def reboot(self) -> None:
        """Nothing: no case asks for it."""

    def _show_time(self) -> None:
        self._connection.execute(
            "UPDATE penstock.manual_clock SET wall_ms = %s, lease_ms = %s",
            (self.clock.wall_ms(), self.clock.boot_ms()),
        )

    def poison(self, job_id: JobId, spec: bytes) -> None:
        """Write over the stored spec."""
        sql = "UPDATE penstock.job SET spec = %s WHERE id = %s"
        assert self._connection.execute(sql, (spec, job_id)).rowcount == 1

    def close(self) -> None:
        """Close the handles; the tables are emptied for the next case."""
        for broker in self._handles:
            WARM.keep(broker)
            broker.close()
        self._connection.close()


class WarmConnections:
    """Idle connections of closed handles, for the handles of later cases.

    A connection that is new to the server reads its catalogue and plans each statement anew, which
    takes longer than most cases. Those of one package are kept: its statements are its own.
    """

    def __init__(self) -> None:
        self._package: Any = None
        self._facts: Any = None
        self._idle: list[Any] = []

    def open(self, package: Any, payload_bytes_max: int) -> Any:
        """Return a handle, on warm connections if there are any."""
        url = shared_server().url
        if package is not self._package:
            self.close()
            broker = package.PostgresBroker.open(url, payload_bytes_max=payload_bytes_max)
            self._package, self._facts = package, broker.describe()
            return broker
        module = package.broker
        database = module.Database(module.read_address(url), module.ANSWER_TIMEOUT_S)
        while self._idle:
            database.pool.give_back(self._idle.pop())
        return package.PostgresBroker(database, self._facts, payload_bytes_max)

    def keep(self, broker: Any) -> None:
        """Take the idle connections of a handle that is about to be closed."""
        pool = broker._database.pool
        if type(broker) is self._package.PostgresBroker:
            while (connection := pool._pop()) is not None:
                self._idle.append(connection)

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()


#: Of this test process.
WARM = WarmConnections()


def empty_tables() -> psycopg.Connection[Any]:
    """Empty the tables of the shared server; return a connection that commits each statement.

    What is made anew for each case would take most of its time.
    """
    connection = psycopg.connect(shared_server().url, autocommit=True)
    found = connection.execute("SELECT to_regclass('penstock.manual_clock')").fetchone()
    if found == (None,):
        postgres.PostgresBroker.open(shared_server().url).close()
        connection.execute(_MANUAL_CLOCK)
    connection.execute(_EMPTY)
    return connection


_MANUAL_CLOCK = """
CREATE TABLE penstock.manual_clock (wall_ms bigint, lease_ms bigint);
INSERT INTO penstock.manual_clock VALUES (0, 0);
CREATE OR REPLACE FUNCTION penstock.wall_ms() RETURNS bigint LANGUAGE sql STABLE
AS $$ SELECT wall_ms FROM penstock.manual_clock $$;
CREATE OR REPLACE FUNCTION penstock.lease_ms() RETURNS bigint LANGUAGE sql STABLE
AS $$ SELECT lease_ms FROM penstock.manual_clock $$;
"""
_EMPTY = """
DELETE FROM penstock.queue; DELETE FROM penstock.counter; DELETE FROM penstock.count_change;
DELETE FROM penstock.job; DELETE FROM penstock.attempt; DELETE FROM penstock.note;
DELETE FROM penstock.log; DELETE FROM penstock.edge; DELETE FROM penstock.key;
DELETE FROM penstock.lease; DELETE FROM penstock.waiter; DELETE FROM penstock.usage;
DELETE FROM penstock.capacity; DELETE FROM penstock.footprint;
UPDATE penstock.reaper SET tick_lease_ms = NULL, hold_until_lease_ms = 0
"""
