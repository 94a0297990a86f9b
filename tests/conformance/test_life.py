"""A whole life with one fault at every call of it ends as a life without faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.broker.protocol import Broker
from penstock.testing import Fault, FaultyBroker, Plan, fail_nth
from penstock.testing.conformance import Harness, Snapshot, live
from tests.conformance.harnesses import MemoryHarness, RedisHarness, SqliteHarness
from tests.support.redis_server import RedisServer

MakeHarness = Callable[[Path], Harness]


def no_fault(_: object) -> Fault:
    """Let every call pass."""
    return Fault.NONE


def lives(make: MakeHarness, folder: Path, plan: Plan) -> tuple[Snapshot, FaultyBroker]:
    """Live one life under `plan` on a fresh store; return its end, and the broker in between."""
    between: list[FaultyBroker] = []

    def wrap(broker: Broker) -> Broker:
        between.append(FaultyBroker(broker, plan))
        return between[-1]

    folder.mkdir()
    harness = make(folder)
    try:
        return live(harness, wrap), between[0]
    finally:
        harness.close()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest) -> MakeHarness:
    """How to make a fresh store of each of our brokers."""
    if request.param != "redis":
        makers: dict[str, MakeHarness] = {"memory": MemoryHarness, "sqlite": SqliteHarness}
        return makers[request.param]
    server: RedisServer = request.getfixturevalue("redis")
    return lambda _folder: RedisHarness(server)


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.LOSE_REPLY, Fault.TWICE])
def test_a_fault_at_any_call_changes_nothing(
    make: MakeHarness, fault: Fault, tmp_path: Path
) -> None:
    """For every n, a life whose n-th call fails ends with the same jobs, counters and leases."""
    expected, between = lives(make, tmp_path / "none", no_fault)
    assert len(between.calls) > 30
    for number in range(1, len(between.calls) + 1):
        end, broken = lives(make, tmp_path / str(number), fail_nth(number, fault))
        assert end == expected, broken.calls[number - 1]
        assert len(broken.calls) == len(between.calls) + (fault is not Fault.TWICE)


def test_all_brokers_live_the_same_life(make: MakeHarness, tmp_path: Path) -> None:
    """Each broker ends where the memory broker does."""
    memory, _ = lives(MemoryHarness, tmp_path / "memory", no_fault)
    subject, _ = lives(make, tmp_path / "subject", no_fault)
    assert subject == memory
