"""What event sinks are told of attempts."""

from __future__ import annotations

import time

import msgspec

from penstock.core.ids import Fence, LeaseId, make_job_id
from penstock.core.job import Claimed, JobSpec
from penstock.core.settlement import Applied, Complete
from penstock.telemetry.events import AttemptFinished, Event, EventSinks
from penstock.worker.runner.attempts import RunnerAttempt
from penstock.worker.runner.notes import NoteBook
from penstock.worker.runner.witness import Witness

HOUR_MS = 3_600_000


class Silent(NoteBook):
    """Keeps nothing."""

    def __init__(self) -> None:
        """Hold nothing."""


def run_ms_of_job_claimed(ahead_ms: int) -> int:
    """Return the run time that is told of a job whose broker's clock is ahead by so much."""
    now_ms = time.time_ns() // 1_000_000
    job = Claimed(
        id=make_job_id(now_ms, 0, 1, 0),
        queue="default",
        spec=JobSpec(task="t", payload=msgspec.Raw(b"{}")),
        fence=Fence("f" * 32),
        lease=LeaseId("a" * 32),
        claim_number=1,
        claimed_at=now_ms + ahead_ms,
    )
    attempt = RunnerAttempt(job, Silent(), None)
    told: list[Event] = []
    sinks = EventSinks()
    sinks.add(told.append)
    time.sleep(0.002)
    settlement = Complete(id=job.id, fence=job.fence, outcome="succeeded", result=None)
    Witness(sinks).settled(attempt, settlement, Applied.APPLIED)
    (event,) = told
    assert isinstance(event, AttemptFinished)
    return event.run_ms


def test_run_time_does_not_mix_two_clocks() -> None:
    """An attempt's run time is the runner's own, be the broker's clock ahead or behind."""
    assert 0 < run_ms_of_job_claimed(-HOUR_MS) < HOUR_MS // 2
    assert 0 < run_ms_of_job_claimed(HOUR_MS) < HOUR_MS // 2
