"""A bench for attempts: one job at a time through run_attempt, in a loop and threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import msgspec

from penstock import App
from penstock.context import CURRENT, CurrentJob
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Claimed, JobSpec
from penstock.core.outcome import Outcome
from penstock.executors.stop import Stop
from penstock.executors.thread import ThreadExecutor
from penstock.worker.attempt import Attempt, AttemptPlan, run_attempt


class NoSinks:
    """Takes an attempt's words and keeps none."""

    def progress(self, value: msgspec.Raw, /) -> None:
        """Forget it."""

    def log(self, line: str, /) -> None:
        """Forget it."""

    def checkpoint(self, value: msgspec.Raw, /) -> None:
        """Forget it."""

    def cancelled(self) -> bool:
        """Return False."""
        return False


def enter(attempt: Attempt) -> CurrentJob:
    """Make the attempt's job the current one."""
    current = CurrentJob(attempt.job, NoSinks())
    CURRENT.set(current)
    return current


@dataclass
class Bench:
    """An app whose jobs can be run one at a time."""

    app: App
    mark: Callable[[], object] = lambda: None
    """Says that user code has begun; from any thread."""

    def claimed(self, task: str, payload: bytes = b"{}", flaw: str | None = None) -> Claimed:
        """Return a job as a broker hands it out."""
        return Claimed(
            id=JobId("0" * 32),
            queue="default",
            spec=JobSpec(task=task, payload=msgspec.Raw(payload)),
            fence=Fence("f" * 32),
            lease=LeaseId("1" * 32),
            claim_number=1,
            claimed_at=0,
            flaw=flaw,
        )

    def run(self, job: Claimed, *stops: Stop, at_once: bool = False, **plan: Any) -> Outcome:
        """Run one job in a loop and threads of its own.

        Args:
            job: to be run.
            *stops: interrupt it so, once it has called `mark`.
            at_once: do not wait for that.
            **plan: more settings.
        """

        async def main() -> Outcome:
            threads = ThreadExecutor()
            began = asyncio.Event()
            self.mark = partial(asyncio.get_running_loop().call_soon_threadsafe, began.set)
            settings = AttemptPlan(
                find=self.app.registry.find,
                enter=enter,
                middleware=self.app.middlewares,
                call_plain=threads.call,
                **plan,
            )
            attempt = Attempt(job)
            task = asyncio.create_task(run_attempt(settings, attempt))
            if stops and not at_once:
                await asyncio.wait_for(began.wait(), 30)
            for stop in stops:
                attempt.interrupt(stop)
            outcome = await task
            threads.close()
            return outcome

        return asyncio.run(main())

    def outcome_of(self, body: Callable[[], Any], **options: Any) -> Outcome:
        """Return what an attempt comes to whose task is `body`."""
        task = self.app.task(name="body", **options)(body)
        return self.run(self.claimed(task.name))

    def raising(
        self, error: BaseException | Callable[[], BaseException], **options: Any
    ) -> Outcome:
        """Return what an attempt comes to whose coroutine raises `error`."""

        async def body() -> NoReturn:
            raise error() if callable(error) else error

        return self.outcome_of(body, **options)
