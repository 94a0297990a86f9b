"""The user code of the simulated world: what a job does stands in its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from penstock import App, Discard, Exponential, Retry, Snooze, current_job
from penstock.executors.lane import RAISED, Phase, ThreadRun
from tests.support import history as h
from tests.support.engine.loop import PROCESS

QUEUE = "simulated"
#: Seconds between two bytecodes of a simulated thread: so soon an interruption is raised in it.
_STEP_S = 0.05


class Plan(msgspec.Struct, frozen=True):
    """What a job does.

    Attributes:
        run_ms: how long an attempt takes.
        fails: its first so many attempts fail.
        snoozes: its first so many attempts ask for a snooze instead.
        ends: how the others end: "return", "discard", "retry".
        deaf: it takes no notice of a cancel.
        notes: it reports progress, a log line and a checkpoint.
    """

    run_ms: int
    fails: int = 0
    snoozes: int = 0
    ends: str = "return"
    deaf: bool = False
    notes: bool = False


class Act:
    """One attempt, as it writes about itself."""

    def __init__(self, plan: Plan, record: Callable[[h.Event], None]) -> None:
        """Write that the attempt started, as the first act of user code."""
        job = current_job()
        self.plan = plan
        self.job = str(job.id)
        self.number = job.claim_number
        self._current = job
        self._record = record
        self._here: dict[str, Any] = {"job": str(job.id), "attempt": job.claim_number}
        self._process = PROCESS.get()
        self._pid = self._process.pid
        self._process.at_death[self] = self._killed
        record(h.Started(pid=self._pid, **self._here))
        if plan.notes:
            job.log(f"attempt {self.number}")
            job.progress({"attempt": self.number})
            record(h.Noted(**self._here))

    def end(self) -> dict[str, int]:
        """Fail, ask for another attempt, or return, as the plan says."""
        plan, earlier = self.plan, self.number - 1
        if plan.notes:
            self._current.checkpoint({"attempt": self.number})
        if earlier < plan.snoozes:
            raise Snooze(0.3)
        if earlier < plan.snoozes + plan.fails:
            raise ValueError("asked to fail")
        if plan.ends == "discard":
            raise Discard("asked to")
        if plan.ends == "retry":
            raise Retry(0.1)
        self._record(h.SideEffect(pid=self._pid, **self._here))
        return {"attempt": self.number}

    def turn_a_deaf_ear(self) -> None:
        """Write that this attempt goes on: its runner may be killed for it, with its neighbours."""
        self._record(h.Fault(kind="deaf", pids=(self._pid,)))

    def ended(self, how: str) -> None:
        """Write how user code ended."""
        self._process.at_death.pop(self, None)
        self._killed(how)

    def _killed(self, how: str = "Killed") -> None:
        self._record(h.Ended(pid=self._pid, how=how, **self._here))


def make_app(record: Callable[[h.Event], None]) -> App:
    """Return an app whose tasks write into one history."""
    app = App("memory://")
    options: dict[str, Any] = {
        "queue": QUEUE, "retries": 3, "backoff": Exponential("100ms", "800ms"),
    }  # fmt: skip

    @app.task(name="act", **options)
    async def act(plan: Plan) -> dict[str, int]:
        return await _run(Act(plan, record))

    @app.task(name="act_alone", isolation="process", **options)
    async def act_alone(plan: Plan) -> dict[str, int]:
        return await _run(Act(plan, record))

    # A simulated thread cannot block: the function returns the steps that `in_steps` makes.
    @app.task(name="act_plain", **options)
    def act_plain(plan: Plan) -> Any:
        return _steps(Act(plan, record))

    return app


async def _run(act: Act) -> dict[str, int]:
    try:
        until_s = asyncio.get_running_loop().time() + act.plan.run_ms / 1000
        while (left_s := until_s - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left_s)
            except asyncio.CancelledError:
                if not act.plan.deaf:
                    raise
                act.turn_a_deaf_ear()
        result = act.end()
    except BaseException as error:
        act.ended(type(error).__name__)
        raise
    act.ended("returned")
    return result


def _steps(act: Act) -> Generator[float, None, dict[str, int]]:
    try:
        left_ms = act.plan.run_ms
        while left_ms > 0:
            step_ms = min(left_ms, int(_STEP_S * 1000))
            try:
                yield step_ms / 1000
            except BaseException:
                if not act.plan.deaf:
                    raise
                act.turn_a_deaf_ear()
            left_ms -= step_ms
        result = act.end()
    except BaseException as error:
        act.ended(type(error).__name__)
        raise
    act.ended("returned")
    return result


async def in_steps(run: ThreadRun, function: Callable[[], Any]) -> Any:
    """Call a plain function as a thread would: beside the loop, and interrupted between steps."""
    run.phase = Phase.CALLED
    told = run.stop
    if told:
        raise RAISED[told]
    steps = function()
    try:
        wait_s = next(steps)
        while True:
            await _blocked(wait_s)
            if run.stop > told:
                told = run.stop
                wait_s = steps.throw(RAISED[told]())
            else:
                wait_s = next(steps)
    except StopIteration as end:
        return end.value
    finally:
        run.phase = Phase.OVER


async def _blocked(wait_s: float) -> None:
    """Wait for a time, whatever is cancelled: a thread knows nothing of its task."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while (left_s := until_s - loop.time()) > 0:
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(left_s))])
