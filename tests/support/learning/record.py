"""Records runs of real tasks in the children of a real worker, as it measures them.

python -m tests.support.learning.record --seed 3 --out runs.jsonl.gz
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec

from penstock import App
from penstock.connect import connect
from penstock.core.ids import JobId
from penstock.core.job import JobRecord
from tests.support.learning import app as tasks
from tests.support.learning.trace import Head, Recorded, write
from tests.support.origin import origin
from tests.support.worker_process import ROOT, worker_environment

_APP = "tests.support.learning.app:app"


def record(seed: int, runs: int, *, memory: str, slots: int) -> tuple[Head, list[Recorded]]:
    """Run each task so many times, all of them mixed, and return what the attempts tell.

    Args:
        seed: of sizes, inputs and order.
        runs: of each task.
        memory: budget of the worker.
        slots: jobs at a time.

    Raises:
        CalledProcessError: the worker failed.
        RuntimeError: a job did not complete.
    """
    chance = Random(seed)
    asked = list(tasks.calls(chance, runs))
    chance.shuffle(asked)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/penstock.db"
        with closing(App(url)) as app:
            jobs = app.enqueue_many([call for call, _ in asked])
        settings = {"url": url, "memory": memory, "concurrency": str(slots)}
        command = [str(Path(sys.executable).with_name("penstock")), "worker", _APP, "--burst"]
        env = worker_environment(settings, {"TMPDIR": folder})
        subprocess.run(command, cwd=ROOT, env=env, check=True)
        with closing(connect(url)) as broker:
            records = [broker.get(JobId(job.id)) for job in jobs]
    ended = [_recorded(one, size) for one, (_, size) in zip(records, asked, strict=True)]
    began_ms = min(one.at_ms for one in ended)
    told = sorted(
        (msgspec.structs.replace(one, at_ms=one.at_ms - began_ms) for one in ended),
        key=lambda one: one.at_ms,
    )
    short = sum(len(one.attempts) - 1 for one in records if one is not None)
    return Head(origin=str(origin()), seed=seed, short=short), told


def _recorded(record: JobRecord | None, size: int | None) -> Recorded:
    last = None if record is None or not record.attempts else record.attempts[-1]
    if record is None or last is None or last.outcome != "succeeded" or last.ended_at is None:
        raise RuntimeError(f"a job that is to be recorded did not complete: {record}")
    usage = last.usage
    if usage is None or usage.peak_bytes is None or usage.measured is None:
        raise RuntimeError(f"an attempt was not measured: {record}")
    return Recorded(
        task=record.spec.task.rpartition(".")[2],
        size=size,
        peak_bytes=usage.peak_bytes,
        run_ms=last.ended_at - last.started_at,
        at_ms=last.ended_at,
        measured=usage.measured,
    )


def main(argv: Sequence[str]) -> int:
    """Record, and say how much."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.learning.record")
    parser.add_argument("--seed", type=int, required=True, help="of sizes, inputs and order")
    parser.add_argument("--runs", type=int, default=190, help="of each task")
    parser.add_argument("--memory", default="3GiB", help="budget of the worker")
    parser.add_argument("--slots", type=int, default=2, help="jobs at a time")
    parser.add_argument("--out", type=Path, required=True, help="file of the runs")
    asked = parser.parse_args(argv)
    head, runs = record(asked.seed, asked.runs, memory=asked.memory, slots=asked.slots)
    write(asked.out, head, runs)
    sys.stdout.write(f"{len(runs)} runs of {head.origin}; {head.short} were short at first\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
