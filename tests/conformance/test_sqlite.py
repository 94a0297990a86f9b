"""The SQLite broker keeps the contract of the port."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.testing.conformance import Case, cases
from tests.conformance.harnesses import SqliteHarness


@pytest.mark.parametrize("case", cases(SqliteHarness.capabilities), ids=str)
def test_sqlite(case: Case, tmp_path: Path) -> None:
    """Each sentence of the contract holds for the SQLite broker."""
    harness = SqliteHarness(tmp_path)
    try:
        case.run(harness)
    finally:
        harness.close()
