"""note: keep progress, checkpoints and log lines of running attempts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core.job import Claimed
from penstock.errors import UsageError

from .scene import Scene, complete, release


def note(job: Claimed, **fields: Any) -> r.Note:
    """Return a note on a running job."""
    raw: dict[str, Any] = {
        k: msgspec.Raw(v) if isinstance(v, bytes) else v for k, v in fields.items()
    }
    return r.Note(id=job.id, fence=job.fence, **raw)


def test_progress_keeps_the_last_value(scene: Scene) -> None:
    """A new value replaces the old one; a note without one leaves it."""
    job = scene.run(scene.put())
    assert list(scene.broker.note([note(job, progress=b"0.1")])) == [True]
    scene.broker.note([note(job, progress=b'{"done":2}'), note(job, log=("x",))])
    assert scene.record(job.id).progress == msgspec.Raw(b'{"done":2}')


def test_a_checkpoint_is_found_by_the_next_attempt(scene: Scene) -> None:
    """The last checkpoint comes with the next claim, and with every one after it."""
    job_id = scene.put()
    job = scene.run(job_id)
    scene.broker.note([note(job, checkpoint=b"1"), note(job, checkpoint=b'{"row":2}')])
    scene.broker.note([note(job, progress=b"1")])
    for _ in range(2):
        scene.settle(release(job))
        job = scene.run(job_id)
        assert job.checkpoint == msgspec.Raw(b'{"row":2}')
    assert scene.record(job_id).checkpoint == msgspec.Raw(b'{"row":2}')


def test_log_lines_are_appended(scene: Scene) -> None:
    """Lines of all notes and attempts stand in order, oldest first."""
    job_id = scene.put()
    job = scene.run(job_id)
    scene.broker.note([note(job, log=("one", "zw\u00f6lf")), note(job, log=("three",))])
    scene.settle(release(job))
    scene.broker.note([note(scene.run(job_id), log=("four",))])
    assert scene.record(job_id).log == ("one", "zw\u00f6lf", "three", "four")


def test_log_lines_are_capped_by_number(scene: Scene) -> None:
    """Of more than LOG_LINES_MAX lines the newest are kept, in one note or over many."""
    job = scene.run(scene.put())
    lines = [str(number) for number in range(r.LOG_LINES_MAX + 300)]
    scene.broker.note([note(job, log=tuple(lines[:-10]))])
    scene.broker.note([note(job, log=tuple(lines[-10:]))])
    assert scene.record(job.id).log == tuple(lines[-r.LOG_LINES_MAX :])


def test_log_lines_are_capped_by_bytes(scene: Scene) -> None:
    """The newest lines that fit into LOG_BYTES_MAX bytes of UTF-8 are kept, to the byte."""
    job = scene.run(scene.put())
    line_bytes = r.LOG_BYTES_MAX // 4
    lines = ["\u00e4" * (line_bytes // 2 - 1) + f"{number:02d}" for number in range(6)]
    assert {len(line.encode()) for line in lines} == {line_bytes}
    for line in lines:
        scene.broker.note([note(job, log=(line,))])
    assert scene.record(job.id).log == tuple(lines[-4:])
    scene.broker.note([note(job, log=("x",))])
    assert scene.record(job.id).log == (*lines[-3:], "x")


def test_the_fence_must_match(scene: Scene) -> None:
    """A note with another fence is refused and writes nothing; others in the batch are kept."""
    job = scene.run(scene.put())
    before = scene.record(job.id)
    stranger = msgspec.structs.replace(job, fence=scene.new_fence())
    late = note(stranger, progress=b"1", checkpoint=b"1", log=("late",))
    assert list(scene.broker.note([late])) == [False]
    assert scene.record(job.id) == before
    assert list(scene.broker.note([late, note(job, log=("kept",)), late])) == [False, True, False]
    assert scene.record(job.id).log == ("kept",)


def test_what_no_longer_runs_is_not_noted(scene: Scene) -> None:
    """After the settlement, and for a job that is gone, a note is refused."""
    job = scene.run(scene.put())
    scene.settle(complete(job))
    assert list(scene.broker.note([note(job, log=("late",))])) == [False]
    assert scene.record(job.id).log == ()
    scene.broker.delete([job.id])
    assert list(scene.broker.note([note(job, log=("late",))])) == [False]


def test_an_old_attempt_notes_nothing_on_the_next(scene: Scene) -> None:
    """The fence of the first attempt is stale for the second."""
    job_id = scene.put()
    first = scene.run(job_id)
    scene.settle(release(first))
    scene.run(job_id)
    assert list(scene.broker.note([note(first, checkpoint=b"1")])) == [False]
    assert scene.record(job_id).checkpoint is None


def test_a_batch_has_at_most_batch_max_notes(scene: Scene) -> None:
    """No notes are no answers; over BATCH_MAX breaks the rule and writes nothing."""
    job = scene.run(scene.put())
    assert list(scene.broker.note([])) == []
    with pytest.raises(UsageError):
        scene.broker.note([note(job, log=("x",))] * (r.BATCH_MAX + 1))
    assert scene.record(job.id).log == ()
