"""The memory broker keeps the contract of the port."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.testing.conformance import Case, cases
from tests.conformance.harnesses import MemoryHarness


@pytest.mark.parametrize("case", cases(MemoryHarness.capabilities), ids=str)
def test_memory(case: Case, tmp_path: Path) -> None:
    """Each sentence of the contract holds for the memory broker."""
    harness = MemoryHarness(tmp_path)
    try:
        case.run(harness)
    finally:
        harness.close()
