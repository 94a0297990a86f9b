"""A FastAPI application; run as a program it serves each given socket from a loop of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI

from penstock import Job
from tests.support.web_jobs import double

#: For a job to end.
SOON = "40s"

web = FastAPI()


@web.post("/awaited/{n}")
async def enqueue_and_await(n: int) -> dict[str, Any]:
    """Enqueue in the event loop and answer with the result."""
    job = await double.aenqueue(n, os.getpid())
    return answer(job, await job.aresult(timeout=SOON))


@web.post("/enqueued/{n}")
async def enqueue(n: int) -> dict[str, Any]:
    """Enqueue in the event loop and wait for nothing."""
    job = await double.aenqueue(n, os.getpid())
    return answer(job, None)


@web.post("/threaded/{n}")
def enqueue_and_block(n: int) -> dict[str, Any]:
    """Enqueue in a thread beside the event loop and answer with the result."""
    job = double.enqueue(n, os.getpid())
    return answer(job, job.result(timeout=SOON))


def answer(job: Job[int], result: int | None) -> dict[str, Any]:
    """Return what every handler answers; the thread tells which loop it was."""
    return {"id": job.id, "pid": os.getpid(), "thread": threading.get_ident(), "result": result}


def main() -> None:
    """Serve each socket from a thread with an event loop of its own, until SIGTERM."""
    servers = [uvicorn.Server(uvicorn.Config(web, fd=int(number))) for number in sys.argv[1:]]

    def stop(_number: int, _frame: object) -> None:
        for server in servers:
            server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    threads = [threading.Thread(target=server.run) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
