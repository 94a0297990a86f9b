"""Random lives of each broker, compared with the lifecycle table and with the oracle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from penstock.brokers import memory
from tests.conformance.guards import guards_of, mutants_of
from tests.conformance.harnesses import MemoryHarness, SqliteHarness
from tests.conformance.mutant import NO_PROGRAM, imported_copy
from tests.properties.broker_machine import BrokerMachine

#: Whether this is `make proof` (PROOF=1 in the environment).
IS_PROOF: Final = bool(os.environ.get("PROOF"))
#: Lives of one broker, and steps of one life.
LIVES: Final = 3_000 if IS_PROOF else 100
STEPS: Final = 60 if IS_PROOF else 40
#: Seconds; a failure is made small before it is shown, which takes a while.
TIME_LIMIT_S: Final = 3_000 if IS_PROOF else 300


class MemoryMachine(BrokerMachine):
    """The memory broker against a second one: what is compared is the table and the invariants."""

    make_subject = MemoryHarness


class SqliteMachine(BrokerMachine):
    """The SQLite broker against the memory broker."""

    make_subject = SqliteHarness


@pytest.mark.timeout(TIME_LIMIT_S)
@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine], ids=["memory", "sqlite"])
def test_broker_machine(machine: type[BrokerMachine]) -> None:
    """Whatever clients, workers, reapers, people and clocks do, the contract holds."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


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

            class Mutant(BrokerMachine):
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
                run_state_machine_as_test(Mutant, settings=search)
            assert not isinstance(found.value, NO_PROGRAM)
