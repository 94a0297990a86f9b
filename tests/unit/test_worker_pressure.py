"""Memory pressure: what the kernel says of it, and when jobs wait for it to pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.executors.pressure import pressure_files, stalled_percent
from penstock.worker.supervisor.pressure import Pressure


def write(file: Path, full: float) -> Path:
    """Write what the kernel would say."""
    file.write_text(
        "some avg10=90.00 avg60=0.00 avg300=0.00 total=1\n"
        f"full avg10={full:.2f} avg60=0.00 avg300=0.00 total=1\n"
    )
    return file


def test_pressure_is_high_until_half_of_the_limit(tmp_path: Path) -> None:
    """It begins at the limit and ends well below, so that it does not come and go."""
    file = write(tmp_path / "memory", 0.0)
    pressure = Pressure(10, (file,))
    seen = []
    for full in (9.9, 10.0, 7.0, 5.0, 4.9, 9.0):
        write(file, full)
        pressure.look()
        seen.append(pressure.is_high)
    assert seen == [False, True, True, True, False, False]


def test_no_limit_is_never_high(tmp_path: Path) -> None:
    """0 turns it off."""
    pressure = Pressure(0, (write(tmp_path / "memory", 100.0),))
    pressure.look()
    assert not pressure.is_high


def test_the_worst_of_group_and_machine_counts(tmp_path: Path) -> None:
    """A container may be short of memory while the machine is not."""
    files = [write(tmp_path / "group", 40.0), write(tmp_path / "machine", 3.0)]
    assert stalled_percent(files) == 40.0


@pytest.mark.parametrize("text", ["", "full\n", "full avg10=x\n", "nonsense of some length\n"])
def test_what_cannot_be_read_is_no_pressure(tmp_path: Path, text: str) -> None:
    """A kernel without the counters keeps no worker from working."""
    (tmp_path / "odd").write_text(text)
    assert stalled_percent([tmp_path / "odd", tmp_path / "none"]) == 0.0


def test_the_group_of_this_process_is_found(tmp_path: Path) -> None:
    """By the line of version 2; a machine without one has its own file only."""
    member, root = tmp_path / "cgroup", tmp_path / "root"
    (root / "jobs").mkdir(parents=True)
    group = write(root / "jobs" / "memory.pressure", 1.0)
    own = root / "jobs" / "worker"
    own.mkdir()
    own = write(own / "memory.pressure", 1.0)
    member.write_text("4:memory:/old\n0::/jobs/worker\n")
    assert pressure_files(proc_cgroup=member, root=root)[:2] == (own, group)
    member.write_text("4:memory:/old\n")
    assert group not in pressure_files(proc_cgroup=member, root=root)
