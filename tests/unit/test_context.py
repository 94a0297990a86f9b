"""What a task learns of its own job, and what it may say."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import msgspec
import pytest

from penstock import current_job
from penstock.context import CURRENT, CurrentJob
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Charges, Claimed, JobSpec
from penstock.errors import SerializationError, WrongContext


class Sinks:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.is_cancelled = False

    def progress(self, value: msgspec.Raw, /) -> None:
        """Keep it."""
        self.told.append(("progress", bytes(value)))

    def log(self, line: str, /) -> None:
        """Keep it."""
        self.told.append(("log", line))

    def checkpoint(self, value: msgspec.Raw, /) -> None:
        """Keep it."""
        self.told.append(("checkpoint", bytes(value)))

    def cancelled(self) -> bool:
        """Return what the test set."""
        return self.is_cancelled


def current(sinks: Sinks, **facts: Any) -> CurrentJob:
    """Return the view of a claimed job."""
    claimed = Claimed(
        id=JobId("0" * 32),
        queue="q",
        spec=JobSpec(task="t", payload=msgspec.Raw(b"{}"), tenant="acme", tags=("a",)),
        fence=Fence("f" * 32),
        lease=LeaseId("e" * 32),
        claimed_at=1,
        **{"claim_number": 1, **facts},
    )
    return CurrentJob(claimed, sinks)


def test_attempt_counts_what_was_charged() -> None:
    """A released run raises claim_number and not attempt; errors, crashes and ooms raise both."""
    job = current(Sinks(), claim_number=7, charges=Charges(errors=2, crashes=1, ooms=1, lost=True))
    assert (job.attempt, job.claim_number) == (5, 7)
    assert (job.id, job.task, job.queue, job.tenant, job.tags) == (
        "0" * 32,
        "t",
        "q",
        "acme",
        ("a",),
    )
    assert repr(job) == f"<current job {'0' * 32}, attempt 5>"


def test_words_of_a_task_reach_its_sinks() -> None:
    """Progress, log lines and checkpoints arrive as JSON and text; cancelled is asked each time."""
    sinks = Sinks()
    job = current(sinks)
    job.progress({"done": 1})
    job.log("one line")
    job.checkpoint([1])
    assert sinks.told == [
        ("progress", b'{"done":1}'),
        ("log", "one line"),
        ("checkpoint", b"[1]"),
    ]
    assert not job.cancelled
    sinks.is_cancelled = True
    assert job.cancelled


def test_value_that_json_cannot_hold_is_refused() -> None:
    """Progress and checkpoints refuse what results refuse; nothing reaches the sinks."""
    sinks = Sinks()
    job = current(sinks)
    with pytest.raises(SerializationError, match="progress"):
        job.progress(float("nan"))
    with pytest.raises(SerializationError, match="checkpoint"):
        job.checkpoint(object())
    assert sinks.told == []


def test_checkpoint_of_an_earlier_attempt_is_found() -> None:
    """None at first; then what an earlier attempt left, typed if asked; then this one's own."""
    assert current(Sinks()).last_checkpoint() is None
    job = current(Sinks(), checkpoint=msgspec.Raw(b'{"at":[1,2]}'))
    assert job.last_checkpoint() == {"at": [1, 2]}
    assert job.last_checkpoint(dict[str, tuple[int, ...]]) == {"at": (1, 2)}
    with pytest.raises(SerializationError, match="checkpoint"):
        job.last_checkpoint(list[int])
    job.checkpoint(3)
    assert job.last_checkpoint(int) == 3


def test_current_job_follows_the_context() -> None:
    """It is found where the context goes: in a copied context, not in a bare thread."""
    job = current(Sinks())
    seen: list[Any] = []

    def look() -> None:
        try:
            seen.append(current_job())
        except WrongContext as error:
            seen.append(type(error))

    token = CURRENT.set(job)
    try:
        look()
        copied = threading.Thread(target=contextvars.copy_context().run, args=(look,))
        bare = threading.Thread(target=look)
        for thread in (copied, bare):
            thread.start()
            thread.join()
    finally:
        CURRENT.reset(token)
    look()
    assert seen == [job, job, WrongContext, WrongContext]
