"""The PostgreSQL broker keeps the contract of the port."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.testing.conformance import Case, cases
from tests.conformance.harnesses import PostgresHarness


@pytest.mark.parametrize("case", cases(PostgresHarness.capabilities), ids=str)
def test_postgres(case: Case, tmp_path: Path) -> None:
    """Each sentence of the contract holds for the PostgreSQL broker."""
    harness = PostgresHarness(tmp_path)
    try:
        case.run(harness)
    finally:
        harness.close()
