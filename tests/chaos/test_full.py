"""F15, F16: no room on the disk of the broker, or in the memory of Redis.

What was accepted is kept, what runs ends, and room is all it takes.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from penstock.core.lifecycle import State
from tests.chaos import tasks
from tests.chaos.filler import Refusal
from tests.chaos.full_memory import full_memory
from tests.support import history as h
from tests.support.checker import check, report
from tests.support.dump import Dump, take_dump
from tests.support.eventually import eventually
from tests.support.losses import run_again
from tests.support.postgres_server import PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.small_room import Room, kinds, small_room
from tests.support.summary import Publish, summarise
from tests.support.worker_process import ROOT

MIB = 2**20
#: Kind of room -> bytes for PostgreSQL, and of them those kept back: an empty server takes 40 MiB,
#: and a file of its log 16.
POSTGRES_BYTES = {"disk": (100 * MIB, 40 * MIB), "files": (28 * MIB, 8 * MIB)}
#: Jobs that run while there is no room.
RUNNING = 4
COROUTINES = 8
#: PostgreSQL ends itself where its log finds no room, and a crash may take claims (ADR-0017): these
#: three, which say that each start has its cause and no two overlap, do not hold there.
NOT_ON_POSTGRES = frozenset({"I3", "I4", "I5"})
#: The scenario that is about memory.
MEMORY = "memory"
#: Kind of room -> what the scenario is called.
NAMES = {"disk": "full disk", "files": "limit of files"}


class Full(Protocol):
    """A broker whose disk fills."""

    url: str

    def pids(self) -> list[int]:
        """Return the processes that write its files, but for producers and workers."""

    def revive(self) -> None:
        """Do what an operator does once there is room: start it, where it has ended."""


class FullFile:
    """A file; producers and workers write it."""

    def __init__(self, room: Room) -> None:
        self.url = f"sqlite:///{room.folder / 'penstock.db'}"

    def pids(self) -> list[int]:
        """None but those."""
        return []

    def revive(self) -> None:
        """Nothing has ended."""


class FullRedis:
    """A Redis server with an append-only file."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.url = server.url

    def pids(self) -> list[int]:
        """The server, if it runs."""
        process = self._server.process
        return [process.pid] if process is not None and process.poll() is None else []

    def revive(self) -> None:
        """Start the server, where it has ended, and without a limit."""
        if not self.pids():
            self._server.prefix = ()
            self._server.start()


class FullPostgres:
    """A PostgreSQL server, table and log on one disk."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.url

    def pids(self) -> list[int]:
        """None: they belong to another user, whose limits are not to be changed from here."""
        return []

    def revive(self) -> None:
        """Start the server, where it has ended, and without a limit, where it has one."""
        if self._server.prefix:
            self._server.stop(signal.SIGINT)
            self._server.prefix = ()
        if self._server.pid is None:
            self._server.start()


class Scenario:
    """Jobs that run and a producer that goes on until there is no room.

    Args:
        site: its broker is on the disk that fills, its history is not.
        room: on the broker's disk.
        broker: at the disk.
        durability: of what is put in.
    """

    def __init__(self, site: Site, room: Room, broker: Full, durability: str | None) -> None:
        self.site = site
        self.room = room
        self.broker = broker
        self.durability = durability
        self.go = site.folder / "go"

    def run(self) -> tuple[Refusal, list[h.Event], Dump]:
        """Fill the disk, let jobs end while it is full, make room, and see all of it end.

        Returns:
            How the producer was refused; the history, and what the broker holds in the end.
        """
        site = self.site
        worker = site.start_ready()
        self.room.confine(worker.tree())
        running = site.enqueue(*(tasks.wait_for.call(str(self.go)) for _ in range(RUNNING)))
        for job in running:
            site.wait_started(job.id)
        site.fault("disk_full", ())
        refusal = self._fill()
        self.go.touch()
        eventually(
            lambda: len(h.of_type(h.Ended, site.events())) >= RUNNING,
            within_s=60,
            what="running jobs to end",
            state=site.report,
        )
        self.room.make_room([*worker.tree(), *self.broker.pids()])
        self.broker.revive()
        accepted = [event.job for event in h.of_type(h.Accepted, site.events())]
        site.wait_final(accepted, within_s=120)
        # It takes jobs again as if nothing had been.
        (job,) = site.enqueue(tasks.wait.call(0.01))
        site.wait_final([job.id], within_s=60)
        events, dump = site.events(), take_dump(site.broker, leftovers=site.drain(worker))
        return refusal, events, dump

    def _fill(self) -> Refusal:
        words = [self.site.url, str(self.site.history.path)]
        words += [] if self.durability is None else [self.durability]
        command = [*self.room.prefix(), sys.executable, "-m", "tests.chaos.filler", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout, type=Refusal)


def sqlite_full(kind: str, folder: Path, publish: Publish) -> Refusal:
    """Fill the disk of a file."""
    with small_room(kind, 16 * MIB, 8 * MIB) as room:
        return play(folder, room, FullFile(room), publish, NAMES[kind])


def redis_full(kind: str, folder: Path, publish: Publish, durability: str = "local") -> Refusal:
    """Fill the disk of a server that is set up for a class."""
    sync = {"local": "everysec", "fsync": "always"}[durability]
    with small_room(kind, 16 * MIB, 8 * MIB) as room:
        server = RedisServer(room.folder, "--appendfsync", sync, prefix=room.prefix())
        try:
            server.start()
            name = f"{NAMES[kind]}, {durability}"
            return play(folder, room, FullRedis(server), publish, name, durability)
        finally:
            server.stop()


def postgres_full(kind: str, folder: Path, publish: Publish) -> Refusal:
    """Fill the disk of a server, tables and log."""
    with (
        small_room(kind, *POSTGRES_BYTES[kind]) as room,
        closing(PostgresServer(data=room.folder / "data", prefix=room.prefix())) as server,
    ):
        return play(folder, room, FullPostgres(server), publish, NAMES[kind])


def play(
    folder: Path,
    room: Room,
    broker: Full,
    publish: Publish,
    name: str,
    durability: str | None = None,
) -> Refusal:
    """Run one scenario, publish its row, and return how its producers were refused."""
    began = time.monotonic()
    with Site(folder, url=broker.url, coroutines=str(COROUTINES)) as site:
        refusal, events, dump = Scenario(site, room, broker, durability).run()
        row = summarise(f"F15 {name}", events, dump, time.monotonic() - began)
        row.repeated = run_again(events)
        publish(row, events)
        assert {record.state for record in dump.jobs.values()} == {State.COMPLETED}
        excused = NOT_ON_POSTGRES if dump.broker == "postgres" else frozenset()
        broken = [one for one in check(events, dump) if one.invariant not in excused]
        assert not broken, report(broken, f"in {folder}\n{site.report()}")
        # Leases ran out while they could not be extended, and nobody took that for a death.
        assert row.repeated <= (COROUTINES if excused else 0)
        return refusal


#: Scenario -> what its producer is told, class and text.
TOLD = {
    "sqlite": "Unavailable: .*full: make room, and call again .*nothing was written.*",
    "redis": "Unavailable: .*cannot write to its disk: make room, and call again .*nothing was.*",
    # Such a server ends itself.
    "redis, synced": "Unavailable: .*cannot be reached, nothing was written: start the server.*",
    # It ends itself where what it has no room for is its log.
    "postgres": "Unavailable: .*(full: make room, and call again|start the server).*nothing was.*",
    MEMORY: r"QueueFull: .*full \(maxmemory\), nothing was written: end or prune jobs, or give .*",
}
RUNS: dict[str, Callable[[str, Path, Publish], Refusal]] = {
    "sqlite": sqlite_full,
    "redis": redis_full,
    "redis, synced": partial(redis_full, durability="fsync"),
    "postgres": postgres_full,
}


def on_each(
    chosen: Sequence[str],
    run: Callable[[str, Path, Publish], Refusal],
    folder: Path,
    publish: Publish,
) -> Refusal:
    """Run a scenario in one room after the other; return how its producers were refused in all."""
    (first, *others) = (run(kind, folder / kind, publish) for kind in chosen)
    assert {one.error for one in others} <= {first.error}
    return first


@pytest.fixture(scope="module")
def chosen(proof_folder: Path | None) -> tuple[str, ...]:
    """The kinds of rooms that are had: the closest to a full disk, in the proof all."""
    return kinds() if proof_folder is not None else kinds()[:1]


@pytest.fixture(scope="module")
def scenarios(
    tmp_path_factory: pytest.TempPathFactory,
    publish: Publish,
    chosen: tuple[str, ...],
    count: Callable[[int, int], int],
) -> Iterator[SideBySide]:
    """All of them at once: they mostly wait."""
    runs: dict[str, Callable[[], object]] = {
        name: partial(on_each, chosen, run, tmp_path_factory.mktemp("full"), publish)
        for name, run in RUNS.items()
    }
    runs[MEMORY] = partial(full_memory, tmp_path_factory.mktemp("memory"), publish, count(60, 500))
    with SideBySide(runs) as running:
        yield running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TOLD)
def test_a_full_broker_refuses_and_recovers(scenarios: SideBySide, name: str) -> None:
    """Producers are told what to do; once there is room all that was accepted ends, once."""
    refusal = scenarios.wait(name)
    assert isinstance(refusal, Refusal)
    text = f"{refusal.error}: {refusal.text}"
    assert re.fullmatch(TOLD[name], text), text
    assert refusal.accepted > RUNNING, "there was no room from the start"
