"""Random lives of each broker, compared with the lifecycle table and with the oracle."""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.harnesses import MemoryHarness, SqliteHarness
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
