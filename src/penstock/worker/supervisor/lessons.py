"""What the end of an attempt in a child teaches of its task: memory, run time, what it leaves."""

from __future__ import annotations

from penstock.core import outcome as o
from penstock.core.footprint import Run
from penstock.core.job import Claimed
from penstock.core.outcome import Outcome
from penstock.core.pace import pace_sums, tells_pace
from penstock.core.usage import Usage

from .child_process import ChildProcess
from .parts import Parts


def learn(
    parts: Parts, job: Claimed, child: ChildProcess, usage: Usage, outcome: Outcome | None,
    *, run_ms: int,
) -> None:  # fmt: skip
    """Take in what a run took, and what the run before it has left in the child.

    A run that ran out of memory took at least what it was seen to hold: were that not learned, each
    job like it would begin with too little again.

    Args:
        parts: of the worker.
        job: that ran.
        child: where.
        usage: what it took.
        outcome: of the attempt; None: nothing is to be settled.
        run_ms: how long it ran.
    """
    went_well = isinstance(outcome, o.Succeeded)
    is_short = isinstance(outcome, o.OutOfMemory) and not outcome.of_gpu
    spec, profiles = job.spec, parts.profiles
    at_ms = parts.link.clock.wall_ms()
    if (went_well or is_short) and usage.peak_bytes is not None:
        profiles.ran(spec.task, Run(usage.peak_bytes, spec.size, at_ms))
    if tells_pace(run_ms, parts.settings.light_runtime_max_ms, went_well=went_well):
        task = parts.tasks.find(spec.task)
        # A child cannot tell how long it waited for the CPU. Whether a plain task holds it was told
        # by its threads, and what a child used of a busy machine must not speak against that.
        is_plain = task is not None and not task.isolated
        cpu_ms = None if is_plain else usage.cpu_ms
        profiles.paced(spec.task, pace_sums(run_ms, cpu_ms, side_by_side=1, at_ms=at_ms))
    if usage.baseline_bytes is not None:
        grown = child.wear.begins(spec.task, usage.baseline_bytes)
        if grown is not None:
            profiles.grew(grown.task, grown.growth_bytes, at_ms)
