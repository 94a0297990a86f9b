"""A Flask application that uses its jobs while it is imported: under `--preload`, in the master."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

from flask import Flask

from penstock import State
from tests.support.web_jobs import double

#: Seconds for another process to come, or for a job to end.
SOON_S = 30.0
#: Jobs that each worker enqueues at the same moments as the other.
BATCH = 25

web = Flask(__name__)
master_pid = os.getpid()
first = double.enqueue(1, master_pid)
assert first.status() is State.QUEUED
#: Where the two workers, forks of this process, wait for each other.
both_workers = multiprocessing.get_context("fork").Barrier(2)


@web.post("/jobs/<int:n>")
def enqueue(n: int) -> dict[str, Any]:
    """Enqueue one job."""
    return {"ids": [double.enqueue(n, os.getpid()).id], "pid": os.getpid()}


@web.post("/together")
def enqueue_together() -> dict[str, Any]:
    """Enqueue jobs, each when the other worker is about to enqueue one too."""
    ids = []
    for n in range(BATCH):
        both_workers.wait(SOON_S)
        ids.append(double.enqueue(n, os.getpid()).id)
    return {"ids": ids, "pid": os.getpid()}


@web.post("/results/<int:n>")
def wait(n: int) -> dict[str, Any]:
    """Enqueue one job and answer with its result."""
    job = double.enqueue(n, os.getpid())
    return {"ids": [job.id], "pid": os.getpid(), "result": job.result(timeout=SOON_S)}


@web.post("/first")
def wait_for_the_masters() -> dict[str, Any]:
    """Answer with the result of the job that was enqueued before the fork, from its handle."""
    result = first.result(timeout=SOON_S)
    return {"ids": [first.id], "master": master_pid, "pid": os.getpid(), "result": result}
