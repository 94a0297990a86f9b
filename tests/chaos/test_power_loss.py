"""F14: power goes under load; class `fsync` loses nothing, what `local` loses is counted.

On a file it goes inside the writes of a process (`file_power`), with all that was not synced. On
Redis a library preloaded into the server tells what was synced. On PostgreSQL a crash is as far
as this goes: its own tests are about power, and what `local` can lose is lost in a crash already.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from penstock.core.ids import JobId
from penstock.core.lifecycle import State
from penstock.errors import Unavailable
from tests.chaos.file_power import file_power
from tests.support import history as h
from tests.support.checker import check, report
from tests.support.comeback import Comebacks
from tests.support.dump import Dump, take_dump
from tests.support.eventually import eventually
from tests.support.losses import Cut, Loss, losses, run_again
from tests.support.postgres_server import PostgresServer
from tests.support.power_loss import FragileRedis
from tests.support.producer import Producer
from tests.support.side_by_side import SideBySide
from tests.support.site import Site
from tests.support.summary import Publish, chaos_seed, summarise

#: Workers of a scenario: several scenarios run side by side.
WORKERS = 1
#: Seconds of traffic that class `local` may lose (GOAL02: 2), and one more for a disk that other
#: tests keep busy: what is lost is what came since the last sync, and while that went on.
LOSS_S = 3.0
#: Seconds, at most, that work goes on between two cuts: a random part of the second between syncs.
PHASE_S = 1.0
#: A claim that is forgotten makes its job start again without a cause in the records, and attempts
#: overlap: these three do not hold where claims are not on the disk. On PostgreSQL they never wait
#: for it.
NOT_HERE = frozenset({"I3", "I4", "I5"})


class Fragile(Protocol):
    """A server that can lose power."""

    @property
    def url(self) -> str:
        """Where it listens, before and after."""

    def cut_power(self) -> object:
        """End it, with the loss of what a power cut would take."""

    def start(self) -> None:
        """Start it again, and wait until it answers."""


#: Cuts in the proof; and at most in `make test`, while class `local` has lost nothing: a few cuts
#: may find all written.
CUTS_MAX = 25


class FragilePostgres(PostgresServer):
    """A server that crashes: by `immediate` shutdown and by SIGKILL of all of it, in turn."""

    def __init__(self) -> None:
        super().__init__()
        self._crashes = 0

    def cut_power(self) -> None:
        """Crash."""
        self._crashes += 1
        if self._crashes % 2:
            self.stop(signal.SIGQUIT)
        else:
            self.kill()


class Scenario:
    """Producers and workers on one server whose power is cut.

    Args:
        folder: of this scenario alone.
        server: started.
        durability: class that everybody asks for.

    Attributes:
        cuts: made so far.
        forgets_claims: a cut can take claims that were answered.
    """

    def __init__(self, folder: Path, server: Fragile, durability: str) -> None:
        self.server = server
        self.durability = durability
        self.site = Site(folder / "site", url=server.url, coroutines="8", durability=durability)
        self.cuts: list[Cut] = []
        self.forgets_claims = durability == "local" or isinstance(server, PostgresServer)

    def run(self, cuts: int, jobs: int) -> tuple[list[h.Event], Dump]:
        """Cut the power again and again; return the history and a dump of the end."""
        site, draw = self.site, random.Random(chaos_seed())
        workers = [site.start() for _ in range(WORKERS)]
        for worker in workers:
            site.wait_ready(worker)
        producer = Producer(
            site, jobs, durability=self.durability, batch=3, every_s=0.03, seconds=0.1
        )
        comebacks = Comebacks(site, workers)
        while len(self.cuts) < cuts or (len(self.cuts) < CUTS_MAX and self._still_has(producer)):
            comebacks.since(h.boot_ns(), "before the cut")
            time.sleep(draw.uniform(0, PHASE_S))
            self._cut(producer)
        comebacks.since(h.boot_ns(), "after the last cut")
        producer.stop()
        site.wait_final(self._known([job.id for job in producer.jobs]), within_s=60)
        leftovers = site.drain(*workers)
        return site.events(), take_dump(site.broker, leftovers=leftovers)

    def _cut(self, producer: Producer) -> None:
        down_ns = h.boot_ns()
        self.site.fault("power_loss", ())
        self.server.cut_power()
        before = producer.refused
        eventually(lambda: producer.refused > before, within_s=60, what="the producer to notice")
        self.cuts.append(Cut(down_ns, h.boot_ns()))
        self.server.start()

    def _still_has(self, producer: Producer) -> bool:
        """Return whether a store that may lose jobs has all that were accepted so far."""
        if self.durability != "local":
            return False
        ids = [job.id for job in producer.jobs]
        try:
            return len(self._known(ids)) == len(ids)
        except Unavailable:
            return True

    def _known(self, jobs: Sequence[str]) -> list[str]:
        ids = [JobId(job) for job in jobs]
        pages = [ids[at : at + 400] for at in range(0, len(ids), 400)]
        found = [status for page in pages for status in self.site.broker.peek(page)]
        return [status.id for status in found if status is not None]


def judge(scenario: Scenario, lost: Sequence[Loss], events: Sequence[h.Event], dump: Dump) -> None:
    """Check all that must hold in the scenario's class."""
    gone = {one.job for one in lost}
    broken = [one for one in check(events, dump) if not (one.invariant == "I1" and one.job in gone)]
    if scenario.durability == "local":
        assert max((one.age_ms for one in lost), default=0) <= LOSS_S * 1_000, lost
    else:
        assert not lost
    if scenario.forgets_claims:
        broken = [one for one in broken if one.invariant not in NOT_HERE]
    assert not broken, report(broken, f"in {scenario.site.folder}\n{scenario.site.report()}")
    assert {record.state for record in dump.jobs.values()} == {State.COMPLETED}
    told = {event.durability for event in h.of_type(h.Accepted, events)}
    assert told == {scenario.durability}


def lose_power(
    name: str, server: Fragile, durability: str, folder: Path, cuts: int, publish: Publish
) -> list[Loss]:
    """Run one scenario, publish its row, and return what was lost."""
    began = time.monotonic()
    scenario = Scenario(folder, server, durability)
    with scenario.site:
        events, dump = scenario.run(cuts, jobs=cuts * 50)
        seconds = time.monotonic() - began
        row = summarise(
            f"F14 {name}, {durability}", events, dump, seconds, may_lose=durability == "local"
        )
        lost = losses(events, dump, scenario.cuts)
        row.repeated = run_again(events)
        row.lost_age_ms = max((one.age_ms for one in lost), default=0.0)
        publish(row, events)
        judge(scenario, lost, events, dump)
        return lost


def redis_power(folder: Path, publish: Publish, cuts: int, durability: str) -> list[Loss]:
    """Cut the power of a Redis server that is set up for the class."""
    sync = "always" if durability == "fsync" else "everysec"
    server = FragileRedis(folder / "redis", "--appendfsync", sync)
    try:
        server.start()
        return lose_power("power loss", server, durability, folder, cuts, publish)
    finally:
        server.stop()


def postgres_crash(folder: Path, publish: Publish, cuts: int, durability: str) -> list[Loss]:
    """Crash a PostgreSQL server as it comes."""
    with closing(FragilePostgres()) as server:
        return lose_power("crash of the server", server, durability, folder, cuts, publish)


KINDS = (redis_power, postgres_crash, file_power)


@pytest.fixture(scope="module")
def scenarios(
    tmp_path_factory: pytest.TempPathFactory, publish: Publish, count: Callable[[int, int], int]
) -> Iterator[SideBySide]:
    """All brokers in both classes at once: they mostly wait."""
    cuts = count(3, CUTS_MAX)
    runs = {
        f"{kind.__name__} {durability}": partial(
            kind, tmp_path_factory.mktemp("power"), publish, cuts, durability
        )
        for kind in KINDS
        for durability in ("local", "fsync")
    }
    with SideBySide(runs) as running:
        yield running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_fsync_loses_nothing(scenarios: SideBySide, kind: Callable[..., object]) -> None:
    """Whatever was accepted in class `fsync` completes, and its settlements are kept."""
    scenarios.wait(f"{kind.__name__} fsync")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_local_loses_what_was_new(scenarios: SideBySide, kind: Callable[..., object]) -> None:
    """Class `local` loses jobs of the last moments alone, and everything else completes."""
    lost = scenarios.wait(f"{kind.__name__} local")
    assert lost, "nothing was lost, so no cut cut anything off"
