"""Progress, log lines and checkpoints of a real runner's jobs, as the broker keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.broker.requests import Note
from penstock.core.job import Claimed, JobSpec
from penstock.core.lifecycle import State
from penstock.worker.runner.attempts import RunnerAttempt
from penstock.worker.runner.notes import NoteBook
from tests.support import runner_app as jobs
from tests.support.runner_bench import RunnerBench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RunnerBench]:
    """A broker file, and the tasks of the tests' app on it."""
    with RunnerBench(tmp_path) as made:
        yield made


def test_the_last_words_of_an_attempt_are_kept(bench: RunnerBench) -> None:
    """What a job says just before it ends is written before its end is."""
    job = jobs.report.enqueue({"part": 3}, "line \x1b[0m ", [1, 2])
    bench.started(burst=True).wait_exit()
    record = bench.record(job)
    assert record.state is State.COMPLETED
    assert msgspec.json.decode(record.progress or b"") == {"part": 3}
    assert msgspec.json.decode(record.checkpoint or b"") == [1, 2]
    assert record.log == ("line \x1b[0m \\udc80",)


def test_a_thread_knows_that_its_checkpoint_is_kept(bench: RunnerBench) -> None:
    """In a thread checkpoint() returns once it is written; progress is thinned out meanwhile."""
    kept, until = bench.path("kept"), bench.path("until")
    job = jobs.report_thread.enqueue(kept, until)
    bench.started()
    bench.wait_lines(kept, 1)
    record = bench.record(job)
    assert record.state is State.RUNNING
    assert msgspec.json.decode(record.checkpoint or b"") == {"at": 1}
    assert msgspec.json.decode(record.progress or b"") == 1_999
    Path(until).touch()
    bench.wait_state(job.id, State.COMPLETED)
    assert msgspec.json.decode(bench.record(job).checkpoint or b"") == {"at": 2}


def test_the_next_attempt_finds_the_checkpoint(bench: RunnerBench) -> None:
    """A requeued job finds what its last attempt left."""
    job = jobs.report.enqueue(1, "x", {"at": 7})
    bench.started(burst=True).wait_exit()
    bench.broker.requeue([job.id])
    bench.started(burst=True).wait_exit()
    assert job.result(timeout=0) == {"at": 7}


class Counting:
    """Counts the notes that a book writes."""

    def __init__(self) -> None:
        self.calls: list[list[Note]] = []

    async def note(self, notes: list[Note]) -> list[bool]:
        """Keep them all."""
        self.calls.append(notes)
        return [True] * len(notes)


def test_one_write_serves_many_attempts_and_values() -> None:
    """A thousand values of a hundred attempts within one turn are one write of the last ones."""
    import asyncio

    async def main() -> None:
        broker = Counting()
        book = NoteBook(broker)  # type: ignore[arg-type] # as much of a broker as it needs
        attempts = [_attempt(book, number) for number in range(100)]
        for value in range(1_000):
            attempts[value % 100].progress(msgspec.Raw(str(value).encode()))
        await book.write()
        [notes] = broker.calls
        assert [bytes(note.progress or b"") for note in notes] == [
            str(900 + number).encode() for number in range(100)
        ]
        assert book.is_empty

    asyncio.run(main())


def test_a_jobs_log_is_bounded_while_it_waits() -> None:
    """Of a million lines the last thousand wait, in bounded memory."""
    import asyncio

    async def main() -> None:
        broker = Counting()
        book = NoteBook(broker)  # type: ignore[arg-type] # the same
        attempt = _attempt(book, 1)
        for number in range(5_000):
            attempt.log(f"{number} " + "x" * 100_000)
        await book.write()
        [[note]] = broker.calls
        assert sum(len(line.encode()) for line in note.log) <= 262_144
        assert note.log[-1].startswith("4999 ")

    asyncio.run(main())


def _attempt(book: NoteBook, number: int) -> RunnerAttempt:
    job = Claimed(
        id=f"{number:032x}",  # type: ignore[arg-type] # a job id by its form
        queue="default",
        spec=JobSpec(task="t", payload=msgspec.Raw(b"{}")),
        fence="f",  # type: ignore[arg-type] # the same
        lease="l",  # type: ignore[arg-type] # the same
        claim_number=1,
        claimed_at=0,
    )
    return RunnerAttempt(job, book, None)
