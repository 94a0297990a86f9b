"""F28: workers and producers of two releases on one broker, kills, and the way back down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from penstock.core.job import JobRecord, Reason
from penstock.core.lifecycle import State
from tests.chaos.mixed_fleet import MixedFleet, Producer
from tests.support import history as h
from tests.support import release
from tests.support.brokers import KINDS, Brokers, Kind
from tests.support.eventually import eventually
from tests.support.side_by_side import SideBySide
from tests.support.summary import Publish, chaos_seed, summarise

SOON_S: Final = 120.0
#: What no log may hold: a record that one release wrote and the other cannot read ends in these.
PARSE_ERRORS: Final = ("Traceback", "ValidationError", "DecodeError", "KeyError", "ValueError")


def run(folder: Path, url: str, publish: Publish, *, jobs: int, seconds: float) -> None:
    """Go up from a broker that the old release made, stay mixed for a while, and go down again."""
    began, seed = time.monotonic(), chaos_seed()
    history = folder / "history.jsonl"
    with (
        Producer(url, history, "old", seed) as old,
        Producer(url, history, "new", seed) as new,
        MixedFleet(folder, url) as fleet,
    ):
        # The broker is the old release's own, and its worker is at work while the new one opens it.
        old.enqueue(jobs)
        fleet.start_before_upgrade()
        wait_starts(history, 1)
        fleet.upgrade()
        until = time.monotonic() + seconds
        mix(fleet, old, new, jobs)
        while time.monotonic() < until:
            old.begin(jobs)
            new.begin(jobs)
            fleet.replace_killed("old")
            fleet.replace_killed("new")
            old.wait()
            new.wait()
            mix(fleet, old, new, jobs)
        # Down again, under load: what the new one leaves is for the old one, which starts anew on
        # what the new one has migrated.
        old.begin(jobs)
        new.begin(jobs)
        wait_starts(history, jobs // 2)
        fleet.kill("new")
        fleet.replace_killed("old")
        old.wait()
        new.wait()
        site = fleet.site
        site.wait_final([one.job for one in h.of_type(h.Accepted, site.events())], within_s=SOON_S)
        leftovers = fleet.drain("old")
        events, dump = site.check(leftovers=leftovers)
        publish(summarise("F28 two releases", events, dump, time.monotonic() - began), events)
        assert_ended_well(list(dump.jobs.values()))
        logs = {worker.name: worker.log() for worker in site.workers}
        for word in PARSE_ERRORS:
            assert not any(word in log for log in logs.values()), (word, logs)


def wait_starts(history: Path, count: int) -> None:
    """Return once so many more attempts have started."""

    def starts() -> int:
        return len(h.of_type(h.Started, h.read_history(history)))

    there = starts() + count
    eventually(lambda: starts() >= there, within_s=SOON_S, what=f"{count} more starts")


def mix(fleet: MixedFleet, old: Producer, new: Producer, jobs: int) -> None:
    """Enqueue until each release has begun jobs of both, and one has gone on with the other's."""
    give_up = time.monotonic() + SOON_S
    while not fleet.is_mixed():
        assert time.monotonic() < give_up, f"one release gets no jobs\n{fleet.site.report()}"
        old.begin(jobs)
        new.begin(jobs)
        old.wait()
        new.wait()


def assert_ended_well(records: Sequence[JobRecord]) -> None:
    """Every job completed, and the worker that says so ran the code of its release."""
    for record in records:
        fate = (record.state, record.reason)
        # Kills while alone in a process are crashes; nothing else may end a job.
        assert fate in {(State.COMPLETED, None), (State.DEAD, Reason.POISON)}, record
        if record.result is not None:
            code = msgspec.json.decode(record.result)["code"]
            is_old = Path(code).is_relative_to(release.source())
            assert is_old == record.attempts[-1].worker.startswith("old"), f"{record} by {code}"


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    brokers: Brokers,
    count: Callable[[int, int], int],
    publish: Publish,
) -> Iterator[SideBySide]:
    """Start the scenario on each broker: all of them wait most of the time."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    scenarios: dict[str, Callable[[], Any]] = {
        kind: partial(
            run, at, brokers.url(kind, at), publish, jobs=count(20, 80), seconds=count(0, 180)
        )
        for kind, at in folders.items()
    }
    with SideBySide(scenarios) as side_by_side:
        yield side_by_side


@pytest.mark.timeout(900)
def test_two_releases_share_a_broker(running: SideBySide, broker_kind: Kind) -> None:
    """F28: up, mixed under kills, and down again; nothing is lost, run twice or unreadable."""
    running.wait(broker_kind)
