"""Plays the supervisor to one real child: gives it jobs, answers its questions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.broker.requests import Accepted, Durability, EnqueueRequest
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Claimed, JobSpec
from penstock.core.lifecycle import State
from penstock.core.outcome import Outcome
from penstock.worker import asks, wire
from tests.support.wire_driver import WireDriver

APP = "tests.support.runner_app:app"


class ChildDriver(WireDriver):
    """One child.

    Attributes:
        asked: the jobs that it enqueued.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None, app: str = APP) -> None:
        """Start it."""
        super().__init__("penstock.worker.child", app, folder, {**(env or {}), wire.CHILD_ENV: "1"})
        self.asked: list[EnqueueRequest] = []
        self._numbers = itertools.count(1)

    def prepare(self, **changes: Any) -> None:
        """Let it run its start hooks, and return once it is ready."""
        self.wait_for(wire.Hello)
        order = wire.Prepare(worker="driver", result_bytes_max=1_000)
        self.say(msgspec.structs.replace(order, **changes))
        self.wait_for(wire.Ready)

    def run(self, task: str, arguments: Mapping[str, Any], *, soft_ms: int = 0) -> JobId:
        """Give it a job and return its id."""
        number = next(self._numbers)
        job = Claimed(
            id=JobId(f"{number:032x}"),
            queue="default",
            spec=JobSpec(task=task, payload=msgspec.Raw(msgspec.json.encode(arguments))),
            fence=Fence("f" * 32),
            lease=LeaseId("1" * 32),
            claim_number=1,
            claimed_at=0,
        )
        self.say(wire.Run(job=job, soft_timeout_ms=soft_ms))
        return job.id

    def outcome(self, job_id: JobId) -> Outcome:
        """Return how the job's attempt ended, once it has; its questions are answered meanwhile."""
        answered = 0
        while True:
            said = self.wait_for(
                msgspec.Struct, _finished_or(job_id, self.heard, skip_asks=answered)
            )
            if isinstance(said, wire.Finished):
                return said.outcome
            answered += 1
            if isinstance(said, asks.Ask):
                self._answer(said)

    def refuse(self, ask: asks.Ask, refusal: asks.AskRefusal) -> None:
        """Answer a question with an error."""
        self.say(asks.Answer(ask.number, failure=refusal))

    def _answer(self, ask: asks.Ask) -> None:
        if ask.queues:
            tags = {queue: 7 + place for place, queue in enumerate(ask.queues)}
            self.say(asks.Answer(ask.number, tags=tags))
            return
        self.asked += ask.jobs
        accepted = tuple(Accepted(job.id, State.QUEUED, Durability.FSYNC) for job in ask.jobs)
        self.say(asks.Answer(ask.number, jobs=accepted))


def _finished_or(
    job_id: JobId, heard: list[msgspec.Struct], *, skip_asks: int
) -> Callable[[msgspec.Struct], bool]:
    """Return what picks the job's end, or the first question after `skip_asks` others."""

    def pick(message: msgspec.Struct) -> bool:
        if isinstance(message, wire.Finished):
            return message.id == job_id
        asked = [one for one in heard if isinstance(one, asks.Ask)]
        return isinstance(message, asks.Ask) and message in asked[skip_asks:]

    return pick
