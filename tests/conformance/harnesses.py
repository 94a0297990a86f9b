"""The harnesses of our own brokers, and of copies of them (`mutant.py`)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from penstock.broker.protocol import Broker
from penstock.brokers import memory, sqlite
from penstock.core.ids import JobId
from penstock.testing import ManualClock
from penstock.testing.conformance import Capability

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
