"""Jobs that are given a secret and do all that user code does with it, short of revealing it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from penstock import App, Exponential, Retry, Secret, current_job
from penstock.context import CurrentJob
from penstock.middleware import CallNext
from penstock.telemetry.events import Event

app = App()
QUICK = Exponential(base="20ms", cap="50ms", jitter="none")
_log = logging.getLogger("canary")


@dataclass
class Account:
    """Credentials."""

    user: str
    password: Secret[str]


@app.middleware
async def watch(job: CurrentJob, call_next: CallNext) -> Any:
    """Log each attempt, as a middleware that is curious would."""
    _log.info("before %r", vars(type(job)))
    return await call_next()


@app.add_event_sink
def tell(event: Event) -> None:
    """Log each event."""
    _log.info("event %r", event)


def _use(token: Secret[str], account: Account, how: str) -> int:
    """Say the secret wherever a job can say anything, then end as asked; return its length."""
    job = current_job()
    _log.warning("using %s %r %s", token, account, {"token": token}, extra={"token": token})
    job.log(f"line with {token} and {account}")
    job.progress({"token": str(token)})
    job.checkpoint({"account": repr(account)})
    if how == "retry" and job.attempt == 1:
        raise Retry(after="10ms", reason=f"again with {token}")
    if how == "fail":
        raise ValueError("no", token, account)
    if how == "crash" and job.attempt == 1:
        raise SystemExit(token)
    return len(token.reveal()) + len(account.password.reveal())


@app.task(retries=1, backoff=QUICK)
async def in_loop(token: Secret[str], account: Account, how: str = "") -> int:
    """Run as a coroutine."""
    if how == "wait":
        await asyncio.sleep(600)
    return _use(token, account, how)


@app.task(retries=1, backoff=QUICK)
def in_thread(token: Secret[str], account: Account, how: str = "") -> int:
    """Run in a thread."""
    if how == "wait":
        time.sleep(600)
    return _use(token, account, how)


@app.task(retries=1, backoff=QUICK, isolation="process")
def in_child(token: Secret[str], account: Account, how: str = "") -> int:
    """Run alone in a child."""
    if how == "wait":
        time.sleep(600)
    if how == "pass on":
        call = in_thread.using(key="passed-on")
        first, second = (call.enqueue(token, account) for _ in range(2))
        assert first.id == second.id, "the same call"
    return _use(token, account, how)


TASKS = {"loop": in_loop, "thread": in_thread, "child": in_child}
