"""What a thread wanted of the processor, told also where it did not get it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from penstock.executors.thread_meter import ThreadMeter


def test_time_at_rest_is_not_wanted() -> None:
    """A thread that sleeps wants nothing; one that computes wants all of that time."""
    meter = ThreadMeter()
    before = meter.wanted_s()
    time.sleep(0.2)
    rested = meter.wanted_s()
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    worked = meter.wanted_s()
    meter.close()
    assert rested - before < 0.1
    assert worked - rested >= 0.19


def test_waiting_for_the_processor_is_wanting_it() -> None:
    """Two processes that compute on one CPU get half of it each, and each wants all of it."""
    allowed = os.sched_getaffinity(0)
    meter = ThreadMeter()
    burn = [sys.executable, "-c", "while True: pass"]
    os.sched_setaffinity(0, {min(allowed)})
    with subprocess.Popen(burn) as rival:
        try:
            began, wanted, used = time.monotonic(), meter.wanted_s(), time.thread_time()
            while (used_s := time.thread_time() - used) < 0.2:
                pass
            wanted_s, run_s = meter.wanted_s() - wanted, time.monotonic() - began
        finally:
            rival.kill()
            os.sched_setaffinity(0, allowed)
    meter.close()
    assert used_s < 0.8 * run_s, "the rival did not run"
    assert wanted_s > 0.9 * run_s, (used_s, wanted_s, run_s)
