"""GOAL13: a producer before a broker that answers nothing is told within a second, and how sure.

Black hole, connections refused, connections accepted and left alone; with a connection that was in
use before, and with none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from penstock import App
from penstock.errors import OutcomeUnknown, Unavailable
from tests.chaos import tasks
from tests.support.brokers import Brokers, Kind
from tests.support.fault_proxy import FaultProxy
from tests.support.side_by_side import on_each_broker
from tests.support.summary import Publish, Summary

#: Milliseconds within which a producer is told (GOAL13), which the proof holds it to.
TOLD_MS = 1_000.0
#: The same for `make test`, on a machine that is busy with other tests.
TOLD_WHEN_BUSY_MS = 10_000.0
WAYS: dict[str, Callable[[FaultProxy], None]] = {
    "black hole": partial(FaultProxy.swallow, calls=True, replies=True),
    "refusing": FaultProxy.refuse,
    "hanging": FaultProxy.hang,
}


def told_ms(app: App, *, is_async: bool) -> float:
    """Enqueue, which fails; return after how many milliseconds that was told."""

    def enqueue() -> None:
        if is_async:
            asyncio.run(_aenqueue(app))
        else:
            app.bound(tasks.wait).enqueue(0.0)

    began = time.monotonic()
    with pytest.raises((Unavailable, OutcomeUnknown)):
        enqueue()
    return 1000 * (time.monotonic() - began)


async def _aenqueue(app: App) -> None:
    await app.bound(tasks.wait).aenqueue(0.0)


async def told_on_a_line_in_use(app: App, fail: Callable[[], None]) -> float:
    """Do as `told_ms`, in an event loop whose connection is open when the broker fails."""
    await _aenqueue(app)
    fail()
    began = time.monotonic()
    with pytest.raises((Unavailable, OutcomeUnknown)):
        await _aenqueue(app)
    return 1000 * (time.monotonic() - began)


def new_app(url: str) -> App:
    """Return an app that has no connection yet."""
    app = App(url)
    app.include(tasks)
    return app


def sample(url: str, proxy: FaultProxy, way: str, *, is_async: bool) -> list[float]:
    """Return after how long a producer with a connection was told, and one without."""
    fail = partial(WAYS[way], proxy)
    found = []
    with closing(new_app(url)) as app:
        if is_async:
            found.append(asyncio.run(told_on_a_line_in_use(app, fail)))
        else:
            app.bound(tasks.wait).enqueue(0.0)
            fail()
            found.append(told_ms(app, is_async=False))
            # What was in use is given up: this one has to connect.
            found.append(told_ms(app, is_async=False))
    with closing(new_app(url)) as app:
        found.append(told_ms(app, is_async=is_async))
    proxy.mend()
    return found


@pytest.mark.timeout(900)
def test_a_producer_is_told_within_a_second(
    tmp_path: Path,
    brokers: Brokers,
    count: Callable[[int, int], int],
    publish: Publish,
    proof_folder: Path | None,
) -> None:
    """Each failure has its type: nothing was stored, or nobody knows; none takes longer."""
    limit_ms = TOLD_WHEN_BUSY_MS if proof_folder is None else TOLD_MS

    def run(kind: Kind) -> None:
        url = brokers.url(kind, tmp_path)
        for way in WAYS:
            for is_async in (False, True):
                began = time.monotonic()
                found: list[float] = []
                rounds = count(1, 20)
                for _ in range(rounds):
                    with FaultProxy(urlsplit(url).port or 0) as proxy:
                        found += sample(proxy.through(url), proxy, way, is_async=is_async)
                face = "event loop" if is_async else "threads"
                publish(
                    Summary(
                        scenario=f"GOAL13 told of a broker, {way}, {face}", broker=kind, jobs=0,
                        faults=rounds, lost=0, repeated=0, starts=0, recovery_ms=sorted(found),
                        seconds=round(time.monotonic() - began, 1),
                    )
                )  # fmt: skip
                assert max(found) <= limit_ms, (kind, way, face, sorted(found))

    on_each_broker(run, kinds=("redis", "postgres"))
