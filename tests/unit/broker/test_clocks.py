"""The clocks: the machine's, and the one that stands still."""

from __future__ import annotations

import time
from pathlib import Path

from penstock.broker.clock import SystemClock
from penstock.core.clock import Clock
from penstock.testing import ManualClock


def test_the_system_clock_shows_wall_time() -> None:
    """It agrees with the operating system's wall clock."""
    clock: Clock = SystemClock()
    before = time.time_ns() // 1_000_000
    now = clock.wall_ms()
    assert before <= now <= time.time_ns() // 1_000_000


def test_the_system_clock_shows_time_since_boot() -> None:
    """It agrees with CLOCK_BOOTTIME, which goes on while the machine sleeps."""
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    now = SystemClock().boot_ms()
    assert before <= now <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def test_the_system_clock_names_the_boot() -> None:
    """It is the kernel's id, and the same for every clock of this boot."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert SystemClock().boot_id == SystemClock().boot_id == boot_id


def test_the_manual_clock_moves_only_when_it_is_told() -> None:
    """Both clocks advance together; the wall clock alone is set; a reboot starts boot time anew."""
    clock = ManualClock(wall_ms=1_000, boot_ms=50, boot_id="a")
    same: Clock = clock
    assert (same.wall_ms(), same.boot_ms(), same.boot_id) == (1_000, 50, "a")
    clock.advance(7)
    assert (clock.wall_ms(), clock.boot_ms()) == (1_007, 57)
    clock.step_wall(-500)
    assert (clock.wall_ms(), clock.boot_ms()) == (507, 57)
    clock.reboot("b", boot_ms=3)
    assert (clock.wall_ms(), clock.boot_ms(), clock.boot_id) == (507, 3, "b")
