"""Random lives of each broker, compared with the lifecycle table and with the oracle."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from penstock.brokers import memory
from penstock.brokers import redis as redis_package
from tests.conformance.guards import Mutant, guards_of, mutants_of
from tests.conformance.harnesses import MemoryHarness, PostgresHarness, RedisHarness, SqliteHarness
from tests.conformance.mutant import NO_PROGRAM, SMALL_PAGES, imported_copy
from tests.properties.broker_machine import BrokerMachine
from tests.support.engine_proof import proof_folder, publish
from tests.support.redis_server import RedisServer

IS_PROOF: Final = proof_folder() is not None
#: Lives of one broker, and steps of one life at most. LIVES=N in the environment: a proof with N.
LIVES: Final = int(os.environ.get("LIVES", "3000")) if IS_PROOF else 100
STEPS: Final = 60 if IS_PROOF else 40
#: Seconds; a failure is made small before it is shown, which takes a while.
TIME_LIMIT_S: Final = 3_000 if IS_PROOF else 300


class MemoryMachine(BrokerMachine):
    """The memory broker against a second one: what is compared is the table and the invariants."""

    make_subject = MemoryHarness


class SqliteMachine(BrokerMachine):
    """The SQLite broker against the memory broker."""

    make_subject = SqliteHarness


class PostgresMachine(BrokerMachine):
    """The PostgreSQL broker against the memory broker."""

    make_subject = PostgresHarness


MACHINES: Final = {
    "memory": MemoryMachine,
    "sqlite": SqliteMachine,
    "postgres": PostgresMachine,
}


def counting(machine: type[BrokerMachine], counts: Counter[str]) -> type[BrokerMachine]:
    """Return the machine, which counts its lives and looks: one as a life begins, one a step."""

    class Counting(machine):  # type: ignore[misc, valid-type]  # mypy knows no such bases
        def __init__(self) -> None:
            super().__init__()
            counts["lives"] += 1

        @invariant()
        def a_look_is_counted(self) -> None:
            counts["looks"] += 1

    return Counting


@pytest.fixture(scope="module")
def lived() -> Iterator[list[dict[str, object]]]:
    """What the lives of each broker came to; kept with the proof when all are over."""
    rows: list[dict[str, object]] = []
    yield rows
    publish("lives", rows, proof_folder())


@pytest.mark.timeout(TIME_LIMIT_S)
@pytest.mark.parametrize("adapter", MACHINES)
def test_broker_machine(adapter: str, lived: list[dict[str, object]]) -> None:
    """Whatever clients, workers, reapers, people and clocks do, the contract holds."""
    # One life on PostgreSQL takes as long as five on SQLite.
    lives = LIVES // 3 if adapter == "postgres" and not IS_PROOF else LIVES
    lived.append(live(adapter, MACHINES[adapter], lives))


@pytest.mark.timeout(TIME_LIMIT_S)
@pytest.mark.parametrize(
    ("adapter", "mutant"), [("redis", None), ("redis in small pages", SMALL_PAGES)]
)
def test_broker_machine_on_redis(
    adapter: str,
    mutant: Mutant | None,
    redis: RedisServer,
    lived: list[dict[str, object]],
    tmp_path: Path,
) -> None:
    """The same holds for the Redis broker, and for one with pages that split all the time."""
    package = Path(str(redis_package.__file__)).parent
    with imported_copy(package, tmp_path, mutant) as module:

        class RedisMachine(BrokerMachine):
            make_subject = staticmethod(lambda _folder: RedisHarness(redis, module))

        lived.append(live(adapter, RedisMachine, LIVES // 2))


def live(adapter: str, machine: type[BrokerMachine], least: int = LIVES) -> dict[str, object]:
    """Live so many lives with the rules of a machine; return what they came to."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    run_state_machine_as_test(
        counting(machine, counts),
        settings=settings(
            max_examples=least,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    lives, steps = counts["lives"], counts["looks"] - counts["lives"]
    assert lives >= least
    assert steps >= lives, "most lives ended as they began"
    seconds = round(time.monotonic() - began, 1)
    return {"adapter": adapter, "lives": lives, "steps": steps, "seconds": seconds}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("settle.py", "fence"),
        ("settle.py", "a requested cancel wins"),
        ("reclaim.py", "hold"),
        ("claim.py", "deadline"),
        ("family.py", "last parent"),
    ],
)
def test_the_machine_finds_a_planted_bug(file: str, name: str, tmp_path: Path) -> None:
    """Without a guard of the memory broker the machine comes upon a difference: it can fail."""
    package = Path(memory.__file__).parent
    guard = next(g for g in guards_of(package) if (g.file, g.name) == (file, name))
    for mutant in mutants_of(package, guard)[:1]:
        with imported_copy(package, tmp_path, mutant) as module:

            class Planted(BrokerMachine):
                make_subject = staticmethod(lambda folder: MemoryHarness(folder, module))

            search = settings(
                max_examples=500,
                stateful_step_count=STEPS,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            with pytest.raises(Exception) as found:  # noqa: PT011 - a mutant fails as it likes
                run_state_machine_as_test(Planted, settings=search)
            assert not isinstance(found.value, NO_PROGRAM)
