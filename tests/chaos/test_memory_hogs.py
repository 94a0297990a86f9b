"""F18: jobs that take far more memory than they said, in every way there is.

Limits are a matter between a worker and its own processes: one broker stands for all. Each way is
run with control groups, where they can be made, and with the watch alone.
"""

from __future__ import annotations

import itertools
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock import Job
from penstock.core.job import AttemptRecord, JobRecord, Reason
from penstock.executors.memory import resident_bytes
from tests.chaos import hog_tasks as tasks
from tests.support.site import Site
from tests.support.summary import Publish, summarise
from tests.support.worker_process import WorkerProcess

MIB = 2**20
#: How far a hog may come above its limit: the promise of the fault plan.
OVER_BYTES, OVER_PART = 64 * MIB, 0.15
#: Every how many hogs one is tried again with more, up to its third attempt.
TRIED_AGAIN_EVERY = 4
#: Bytes by which the supervisor may grow over a whole run: it holds nothing of what jobs do.
PARENT_GROWTH = 24 * MIB


class Death(NamedTuple):
    """One hog's end.

    Attributes:
        came_to_bytes: what its processes held, as they counted it themselves.
        measured: how the worker measured it.
    """

    pattern: str
    limit_bytes: int
    came_to_bytes: int
    peak_bytes: int
    measured: str

    @property
    def over_bytes(self) -> int:
        """How far it came above its limit."""
        return self.came_to_bytes - self.limit_bytes

    @property
    def is_in_bounds(self) -> bool:
        """Whether it was ended in time."""
        return self.over_bytes <= max(OVER_BYTES, round(OVER_PART * self.limit_bytes))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cgroups", ["auto", "off"])
def test_hogs_are_ended_told_apart_and_tried_with_more(
    make_site: Callable[..., Site],
    count: Callable[[int, int], int],
    publish: Publish,
    proof_folder: Path | None,
    cgroups: str,
) -> None:
    """The worker lives, the verdict is right, nothing is left, and the third time is the last."""
    began = time.monotonic()
    site = make_site("hogs", cgroups=cgroups, memory="2GiB", concurrency="2")
    site.app.include(tasks)
    worker = site.start_ready()
    before = resident_bytes(worker.pid)
    hogs = hogs_of(site, count(3, 200))
    innocents = site.enqueue(*itertools.islice(innocent_calls(), count(1, 20)))
    site.wait_final([job.id for job in (*hogs, *innocents)], within_s=800)
    assert worker.exit_code is None, worker.report()
    _, left = tasks.noted(site.folder)
    assert not left, left
    assert resident_bytes(worker.pid) - before < PARENT_GROWTH
    events, dump = site.check(leftovers=site.drain(worker))
    records = [dump.jobs[job.id] for job in hogs]
    name = f"F18 memory hogs {kind_of(worker, cgroups)}"
    publish(summarise(name, events, dump, time.monotonic() - began), events)
    deaths = [death for record in records for death in deaths_of(site, record)]
    if proof_folder is not None:
        file = proof_folder / f"{name.lower().replace(' ', '-')}.md"
        file.write_text(as_table(name, deaths))
    for record in records:
        judge(record)
    for job in innocents:
        outcomes = [one.outcome for one in dump.jobs[job.id].attempts]
        assert outcomes == ["crashed", "succeeded"], dump.jobs[job.id]
    if proof_folder is not None or "in groups" in name:
        # A watch is as fast as the machine is idle, which no test but the proof may ask for.
        late = [death for death in deaths if not death.is_in_bounds]
        assert len(late) <= 0.01 * len(deaths), late


def kind_of(worker: WorkerProcess, cgroups: str) -> str:
    """Return who keeps the limits of a worker, as it says itself."""
    if "memory limits are enforced by control groups" in worker.log():
        return "in groups"
    return "watched" if cgroups == "off" else "watched, no groups here"


def hogs_of(site: Site, number: int) -> list[Job[Any]]:
    """Enqueue hogs of each pattern; the first and each fifth is tried with more."""
    patterns = itertools.cycle(tasks.PACES)
    calls = [
        (tasks.hog_once if at % TRIED_AGAIN_EVERY else tasks.hog).call(next(patterns))  # type: ignore[arg-type]
        for at in range(number)
    ]
    return site.enqueue(*calls)


def innocent_calls() -> Iterator[Any]:
    """Return calls that die of something else."""
    ways: tuple[tasks.Innocent, ...] = ("sigkill", "segfault", "exit_now")
    return (tasks.innocent.call(how) for how in itertools.cycle(ways))


def judge(record: JobRecord) -> None:
    """Every attempt ran out of memory, each with half as much again; the last one is the end."""
    runs = 3 if record.spec.task.endswith(".hog") else 1
    assert [one.outcome for one in record.attempts] == ["out_of_memory"] * runs, record
    assert record.reason is Reason.OUT_OF_MEMORY, record
    given = [one.usage.reserved_bytes for one in record.attempts if one.usage is not None]
    assert given == [128 * MIB, 192 * MIB, 288 * MIB][:runs], record
    assert record.charges.errors == record.charges.crashes == 0, record


def deaths_of(site: Site, record: JobRecord) -> list[Death]:
    """Return how far each attempt of a hog came, as its processes have counted."""
    pattern = bytes(record.spec.payload).decode()
    found = []
    for number, attempt in enumerate(record.attempts, 1):
        file = site.folder / f"{record.id}.{number}.held"
        if file.exists():
            found.append(_death(pattern, attempt, sum(struct.unpack("qq", file.read_bytes()))))
    return found


def _death(pattern: str, attempt: AttemptRecord, came_to_bytes: int) -> Death:
    usage = attempt.usage
    assert usage is not None
    assert usage.limit_bytes is not None
    return Death(
        pattern=next(one for one in tasks.PACES if one in pattern),
        limit_bytes=usage.limit_bytes,
        came_to_bytes=came_to_bytes,
        peak_bytes=usage.peak_bytes or 0,
        measured=usage.measured or "",
    )


def as_table(name: str, deaths: list[Death]) -> str:
    """Return what each pattern came to, as Markdown."""
    system = os.uname()
    lines = [
        f"# {name}",
        "",
        f"{len(deaths)} ends on {os.cpu_count()} CPUs, {system.sysname} {system.release}. Over:",
        "MiB above the limit that a hog's processes held when it was ended, as they counted it",
        "themselves; negative: below it. Error: the peak that the worker measured, less that.",
        "Late: above the promise, limit + max(64 MiB, 15 %).",
        "",
        "| pattern | ends | over, median | over, most | error, median | late |",
        "|---|---|---|---|---|---|",
    ]
    for pattern in tasks.PACES:
        mine = [one for one in deaths if one.pattern == pattern]
        if mine:
            over = sorted(one.over_bytes for one in mine)
            errors = sorted(one.peak_bytes - one.came_to_bytes for one in mine)
            late = sum(not one.is_in_bounds for one in mine)
            cells = (over[len(over) // 2], over[-1], errors[len(errors) // 2])
            numbers = " | ".join(f"{cell / MIB:.0f}" for cell in cells)
            lines.append(f"| {pattern} | {len(mine)} | {numbers} | {late} |")
    return "\n".join([*lines, ""])
