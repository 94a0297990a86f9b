"""Programs as jobs: their output, their exit status, their limits, their end."""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.core.job import Reason
from penstock.core.lifecycle import State
from tests.support import memory_app as tasks
from tests.support.eventually import eventually
from tests.support.processes import descendants
from tests.support.supervised import SOON_S, Supervised

APP = "tests.support.memory_app:app"


def test_a_program_runs_with_its_arguments(tmp_path: Path) -> None:
    """Its output is the job's log and result, its progress the job's, its stdin the arguments."""
    with Supervised(tmp_path) as site:
        site.start_ready(app=APP)
        (record,) = site.wait_final(*site.enqueue(tasks.program.call(0, "a b", 0.0)))
        assert record.state is State.COMPLETED, record
        given = "{'status': 0, 'path': 'a b', 'seconds': 0.0}"
        assert record.log == (f"words ['0', 'path=a b', '0.0'] given {given}", "a problem"), record
        assert msgspec.json.decode(record.result or b"") == "\n".join(record.log)
        assert msgspec.json.decode(record.progress or b"") == {"done": 1}


def test_its_status_decides(tmp_path: Path) -> None:
    """Any but 0 is a failure that says the last lines; 75 asks for another attempt."""
    with Supervised(tmp_path) as site:
        site.start_ready(app=APP)
        calls = tasks.program.call(3, "x", 0.0), tasks.program.using(retries=0).call(75, "x", 0.0)
        failed, again = site.wait_final(*site.enqueue(*calls))
        assert (failed.state, failed.reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED), failed
        assert "exit status 3" in str(failed.error), failed
        assert "a problem" in str(failed.error), failed
        assert again.attempts[0].outcome == "retry_asked", again


def test_a_program_is_limited_and_ended(tmp_path: Path) -> None:
    """It is killed at its memory limit and at its time limit, and nothing of it is left."""
    with Supervised(tmp_path, memory="1GiB") as site:
        worker = site.start_ready(app=APP)
        hungry = tasks.program_that_takes.using(retries=0).call(800)
        slow = tasks.program.using(timeout="1s", retries=0).call(0, "x", 60.0)
        first, second = site.wait_final(*site.enqueue(hungry, slow))
        assert first.reason is Reason.OUT_OF_MEMORY, first
        assert second.attempts[0].outcome == "timed_out", second
        eventually(
            lambda: not [pid for pid in descendants(worker.pid) if is_program(pid)],
            within_s=SOON_S,
            what="the programs to be gone",
        )


def is_program(pid: int) -> bool:
    """Return whether a process runs one of the scripts of these tests."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"-c" in words
