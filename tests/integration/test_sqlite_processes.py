"""Several processes on one SQLite file: no error, no loss, no job twice, and wake-ups arrive."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from penstock.broker import requests as r
from penstock.brokers.sqlite import SqliteBroker
from penstock.errors import Unavailable
from tests.support.sqlite_actor import QUEUE, Actor, start
from tests.support.sqlite_file import check_whole, job_ids, look

#: Jobs of the hammering test, over all processes.
JOBS = 5_000
#: Kills of the crash test; tests/chaos has the long one, with a kill before every system call.
KILLS = 6
#: Seconds until a process that should end counts as hung.
LIMIT_S = 50


@contextmanager
def actor(name: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program; it is killed if it is still there in the end."""
    process = start(name, *words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that the process prints; if it ended instead, fail with its errors."""
    stream: IO[str] | None = process.stdout
    assert stream is not None
    line = stream.readline()
    assert line, f"{process.args!r} ended:\n{process.communicate()[1]}"
    return line.strip()


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return the exit status, output and errors of a process that ends by itself."""
    output, errors = process.communicate(timeout=LIMIT_S)
    return process.returncode, output, errors


def test_four_processes_hammer_one_file(tmp_path: Path) -> None:
    """Of 5,000 jobs from two processes each is completed exactly once by one of two others."""
    path = tmp_path / "jobs.db"
    SqliteBroker.open(path).register([QUEUE])
    with (
        actor("enqueue", path, JOBS // 2, 1) as one,
        actor("enqueue", path, JOBS // 2, 10) as ten,
        actor("work", path, JOBS) as first,
        actor("work", path, JOBS) as second,
        ThreadPoolExecutor(4) as pool,
    ):
        # All at once: a process that cannot print holds up the others' jobs.
        ends = list(pool.map(end_of, (one, ten, first, second)))
    assert [(status, errors) for status, _, errors in ends] == [(0, "")] * 4
    outputs = [output for _, output, _ in ends]
    accepted = outputs[0].split() + outputs[1].split()
    settled = [line.split() for output in outputs[2:] for line in output.splitlines()]
    assert len(accepted) == JOBS
    assert Counter(job_id for job_id, _ in settled) == Counter(accepted)
    assert {answer for _, answer in settled} == {"applied"}
    check_whole(path)
    assert look(path, "SELECT MAX(claim_number) FROM job") == [(1,)]


def test_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    """Of four processes that open a new file one makes the tables, and all can use them."""
    path = tmp_path / "jobs.db"
    with (
        actor("enqueue", path, 20, 1) as one,
        actor("enqueue", path, 20, 1) as two,
        actor("enqueue", path, 20, 1) as three,
        actor("enqueue", path, 20, 1) as four,
    ):
        ends = [end_of(process) for process in (one, two, three, four)]
    assert [(status, errors) for status, _, errors in ends] == [(0, "")] * 4
    assert job_ids(path) == {job_id for _, output, _ in ends for job_id in output.split()}
    assert look(path, "SELECT tag, name FROM queue") == [(1, QUEUE)]
    check_whole(path)


@pytest.mark.parametrize("seed", [7])
def test_a_killed_writer_loses_nothing_that_it_was_told(tmp_path: Path, seed: int) -> None:
    """After a SIGKILL at any instant every accepted job is in the file, and the file is whole."""
    chance = random.Random(seed)
    path = tmp_path / "jobs.db"
    accepted: set[str] = set()
    for kill in range(KILLS):
        with actor("enqueue", path, 100_000, 1 if kill % 2 else 20) as writer:
            for _ in range(chance.randrange(1, 150)):
                accepted |= set(line_of(writer).split())
            writer.kill()
            # What it had printed was accepted, even where it was killed before this was read.
            output, errors = writer.communicate()
            accepted |= {job_id for job_id in output.split() if len(job_id) == 32}
            assert errors == ""
        check_whole(path)
        assert accepted <= job_ids(path), f"seed {seed}, kill {kill}"


def test_a_sleeper_in_another_process_is_woken(tmp_path: Path) -> None:
    """An enqueue here wakes who sleeps there, and it finds the job."""
    path = tmp_path / "jobs.db"
    here = Actor(path)
    with actor("sleep", path) as sleeper:
        assert line_of(sleeper) == "asleep"
        (job_id,) = here.put()
        assert line_of(sleeper) == "woken"
        assert line_of(sleeper) == job_id


def test_a_killed_sleeper_takes_no_wake_up_with_it(tmp_path: Path) -> None:
    """A process that died in its sleep is passed over for the next, and leaves nothing behind."""
    path = tmp_path / "jobs.db"
    here = Actor(path)
    with actor("sleep", path) as first:
        assert line_of(first) == "asleep"
        with actor("sleep", path) as second:
            assert line_of(second) == "asleep"
            first.kill()
            first.wait()
            (job_id,) = here.put()
            assert line_of(second) == "woken"
            assert line_of(second) == job_id
    assert look(path, "SELECT COUNT(*) FROM waiter") == [(0,)]
    here.broker.prune([QUEUE], (), limit=1)
    assert list((tmp_path / "jobs.db-wake").iterdir()) == []


def test_tokens_of_dead_sleepers_are_forgotten_by_the_next_one(tmp_path: Path) -> None:
    """What a killed process left in the file and beside it goes when another one opens a lease."""
    path = tmp_path / "jobs.db"
    with actor("sleep", path) as sleeper:
        assert line_of(sleeper) == "asleep"
        sleeper.kill()
        sleeper.wait()
    assert look(path, "SELECT COUNT(*) FROM waiter") == [(1,)]
    here = Actor(path)
    here.lease()
    here.broker.close()
    assert look(path, "SELECT COUNT(*) FROM waiter") == [(0,)]
    assert not (tmp_path / "jobs.db-wake").exists()


def test_a_busy_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call waits while another process is in a transaction, and goes through when it ends."""
    path = tmp_path / "jobs.db"
    here = Actor(path)
    here.put()
    with actor("hold", path) as holder:
        assert line_of(holder) == "held"
        assert here.broker.counts()[0].queued == 1, "a read waits for no writer"
        waits: list[float] = []

        def wait(seconds: float) -> None:
            """Let the other process go on at the third wait."""
            waits.append(seconds)
            if len(waits) == 3:
                assert holder.stdin is not None
                print(file=holder.stdin, flush=True)
            time.sleep(seconds)

        patient = SimpleNamespace(monotonic=time.monotonic, sleep=wait)
        monkeypatch.setattr("penstock.brokers.sqlite.connection.time", patient)
        assert len(here.put()) == 1
    assert waits[:3] == sorted(waits[:3])
    assert 0 < waits[0] < waits[2] <= max(waits) <= 0.002


def test_a_file_that_stays_busy_is_unavailable(tmp_path: Path) -> None:
    """Past the busy timeout a call is refused, nothing is written, and a later one goes through."""
    path = tmp_path / "jobs.db"
    Actor(path).put()
    patient = SqliteBroker.open(path, busy_timeout_s=0.2, durability=r.Durability.LOCAL)
    request = Actor(path).request()
    with actor("hold", path) as holder:
        assert line_of(holder) == "held"
        with pytest.raises(Unavailable, match="another process kept it locked") as caught:
            patient.enqueue([request])
        assert str(path) in str(caught.value)
        assert "nothing was written" in str(caught.value)
    (answer,) = patient.enqueue([request])
    assert isinstance(answer, r.Accepted)
    assert not answer.duplicate
