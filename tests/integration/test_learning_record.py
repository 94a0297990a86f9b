"""Runs that are recorded for the proof of learning: all that a real worker had, and read back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.learning.app import SIZES
from tests.support.learning.record import record
from tests.support.learning.trace import read, write

MIB = 2**20


def test_every_run_is_recorded_as_it_was_measured(tmp_path: Path) -> None:
    """Each task has its runs, with sizes where it tells one, peaks, and how they were measured."""
    head, runs = record(7, 2, memory="2GiB", slots=2)
    assert Counter(one.task for one in runs) == dict.fromkeys([*SIZES, "report"], 2)
    assert all((one.size is None) == (one.task == "report") for one in runs)
    assert all(10 * MIB < one.peak_bytes < 500 * MIB and one.run_ms > 0 for one in runs)
    assert {one.measured for one in runs} <= {"cgroup", "hwm", "sampled"}
    assert [one.at_ms for one in runs] == sorted(one.at_ms for one in runs)
    write(tmp_path / "runs.jsonl.gz", head, runs)
    assert read(tmp_path / "runs.jsonl.gz") == (head, runs)
