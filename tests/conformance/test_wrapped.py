"""The contract holds through threads of an event loop, and through faults that are repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from penstock.broker.protocol import Broker
from penstock.testing import Call, Fault, FaultyBroker
from penstock.testing.conformance import Case, Harness, cases
from tests.conformance.harnesses import MemoryHarness, RedisHarness, SqliteHarness
from tests.conformance.wrapped import WrappedHarness, insisting, through_threads
from tests.support.redis_server import RedisServer

#: Verbs whose repeat gives the very same answer, so that no case can tell.
SAME_ANSWER: Final = frozenset(
    {"register", "open_lease", "extend", "close_leases", "restate", "claim", "pause", "resume"}
    | {"peek", "get", "list_jobs", "counts", "needs", "leases", "footprints"}
)

CASES: Final = cases()
#: (broker, case) for every case that says something about that broker.
BROKER_CASES: Final = [
    *(
        pytest.param(name, case, id=f"{name}-{case}")
        for name in ("memory", "sqlite")
        for case in CASES
    ),
    *(pytest.param("redis", case, id=f"redis-{case}") for case in cases(RedisHarness.capabilities)),
]


@pytest.fixture
def harness(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """A fresh store of one of our brokers."""
    made: Harness
    if broker == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        made = RedisHarness(server)
    else:
        made = MemoryHarness(tmp_path) if broker == "memory" else SqliteHarness(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(("broker", "case"), BROKER_CASES)
def test_through_threads(case: Case, harness: Harness) -> None:
    """Each sentence holds for the async face, one event loop per call."""
    case.run(WrappedHarness(harness, through_threads))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_through_refusals(case: Case, tmp_path: Path) -> None:
    """Each sentence holds when every other call is refused before its write, and made again.

    A refused call reaches no broker, so one stands for all.
    """

    def refuse_every_other(call: Call) -> Fault:
        return Fault.REFUSE if call.number % 2 else Fault.NONE

    def wrap(broker: Broker) -> Broker:
        return insisting(FaultyBroker(broker, refuse_every_other))

    case.run(WrappedHarness(MemoryHarness(tmp_path), wrap))


@pytest.mark.parametrize(("broker", "case"), BROKER_CASES)
def test_through_lost_replies(case: Case, harness: Harness) -> None:
    """Each sentence holds when answers are lost after the write, and asked for again."""

    def lose_every_other(call: Call) -> Fault:
        is_lost = call.verb in SAME_ANSWER and call.number_of_verb % 2 == 1
        return Fault.LOSE_REPLY if is_lost else Fault.NONE

    def wrap(broker: Broker) -> Broker:
        return insisting(FaultyBroker(broker, lose_every_other))

    case.run(WrappedHarness(harness, wrap))
