"""What every contestant's script answers, so that one harness can measure them all.

A script is started in the contestant's own environment, in its own process, as
`python -m contract PEER ACTION --count N`, told its file or server, its variant and its queues by
`$BENCH_URL`, `$BENCH_VARIANT` and `$BENCH_QUEUES`. An action that the contestant's API has no call
for is answered with `{"absent": true}`:

- `prepare`: make the tables in a new database;
- `enqueue`: put N no-op jobs in, one call each, from plain code; print the seconds;
- `aenqueue`: the same from one coroutine, one awaited call each;
- `gather`: the same from 100 coroutines at once;
- `bulk`: put N no-op jobs in as fast as its API can; print the seconds;
- `produce`: one job every `--every` seconds, stamped just before the call;
- `first`: import, connect, put one job in; print the process age when it was accepted;
- `delayed`: put N no-ops in that are due in an hour (Penstock alone).

The worker is a command of the harness. Its no-op writes the stamp of its first call to
`$BENCH_MARKS/first`, and, for stamped jobs, each latency to `$BENCH_MARKS/latency`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

#: The one small dict argument of the no-op, as peers.md has it: about 100 bytes as a message.
ADDRESS = "user@example.com"
#: Jobs per bulk call; what is cut smaller inside is the contestant's affair.
BULK_CALL_JOBS = 500
#: Coroutines that enqueue at once.
CALLERS = 100

URL = os.environ.get("BENCH_URL", "")
VARIANT = os.environ.get("BENCH_VARIANT", "")
#: The queues that are filled in turn and served.
QUEUES = os.environ.get("BENCH_QUEUES", "q0").split(",")
if VARIANT == "quiet":
    # Costs a contestant one comparison for each line that it would have logged.
    logging.disable(logging.INFO)
#: Where the no-op leaves its marks.
MARKS = Path(os.environ.get("BENCH_MARKS", "."))

Argument = dict[str, Any]


class Peer:
    """One contestant with its store open. It overrides what its API has a call for."""

    def prepare(self) -> None:
        """Make the tables in a new database."""

    async def open(self) -> None:
        """Connect, where the API asks for it; before the first asynchronous call."""

    async def close(self) -> None:
        """Let go, where the API asks for it."""

    #: Put one no-op in, from plain code.
    enqueue: Callable[[Argument], Any] | None = None
    #: Put one no-op in, from a coroutine.
    aenqueue: Callable[[Argument], Awaitable[Any]] | None = None
    #: Put many no-ops in with as few calls as it takes; one of the two, or neither.
    enqueue_bulk: Callable[[list[Argument]], Any] | None = None
    aenqueue_bulk: Callable[[list[Argument]], Awaitable[Any]] | None = None
    #: Put many no-ops in that are due in an hour.
    enqueue_delayed: Callable[[list[Argument]], Any] | None = None


def queue_of(argument: Argument) -> str:
    """Return the queue of a job: all in turn."""
    return QUEUES[argument["id"] % len(QUEUES)]


def note_start(argument: Argument) -> Any:
    """Be the body of the no-op: leave the marks, return a small value."""
    if "ns" in argument:
        late_ns = time.time_ns() - argument["ns"]
        with (MARKS / "latency").open("a") as file:
            file.write(f"{late_ns}\n")
    elif not note_start.seen or argument["id"] == 0:
        # The first call in this process, which other processes may have been before.
        note_start.seen = True
        with contextlib.suppress(FileExistsError):
            (MARKS / "first.lock").mkdir()
            (MARKS / "first.new").write_text(str(time.time_ns()))
            (MARKS / "first.new").rename(MARKS / "first")
    return argument["id"]


note_start.seen = False


def process_age_s() -> float:
    """Return the seconds since this process was started, its interpreter's start included."""
    start_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return now_s - start_ticks / os.sysconf("SC_CLK_TCK")


def jobs(count: int) -> list[Argument]:
    """Return the arguments of `count` no-ops."""
    return [{"id": number, "email": ADDRESS} for number in range(count)]


def calls(count: int) -> list[list[Argument]]:
    """Return the same, cut into bulk calls."""
    every = jobs(count)
    return [every[at : at + BULK_CALL_JOBS] for at in range(0, count, BULK_CALL_JOBS)]


def main() -> None:
    """Answer one action from the command line; print one JSON document."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("action")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--every", type=float, default=0.02)
    options = parser.parse_args()
    peer = importlib.import_module(options.peer).Peer()
    print(json.dumps(ACTIONS[options.action](peer, options.count, options.every)))


def answer(started: float, count: int) -> dict[str, Any]:
    """Return the answer of an action that put `count` jobs in since `started`."""
    return {"seconds": time.perf_counter() - started, "count": count}


def _prepare(peer: Peer, _count: int, _every: float) -> dict[str, Any]:
    peer.prepare()
    return {}


def _enqueue(peer: Peer, count: int, _every: float) -> dict[str, Any]:
    if peer.enqueue is None:
        return {"absent": True}
    arguments = jobs(count)
    peer.enqueue({"id": -1, "email": ADDRESS})
    started = time.perf_counter()
    for argument in arguments:
        peer.enqueue(argument)
    return answer(started, count)


def _aenqueue(peer: Peer, count: int, _every: float) -> dict[str, Any]:
    return _gathered(peer, count, 1)


def _gather(peer: Peer, count: int, _every: float) -> dict[str, Any]:
    return _gathered(peer, count, CALLERS)


def _gathered(peer: Peer, count: int, callers: int) -> dict[str, Any]:
    call = peer.aenqueue
    if call is None:
        return {"absent": True}

    async def caller(arguments: list[Argument]) -> None:
        for argument in arguments:
            await call(argument)

    async def body() -> dict[str, Any]:
        arguments = jobs(count)
        # The first calls open connections, as many as the client keeps.
        await asyncio.gather(*(call({"id": -1, "email": ADDRESS}) for _ in range(callers)))
        started = time.perf_counter()
        await asyncio.gather(*(caller(arguments[at::callers]) for at in range(callers)))
        return answer(started, count)

    return asyncio.run(_opened(peer, body))


def _bulk(peer: Peer, count: int, _every: float) -> dict[str, Any]:
    """Fill by the bulk call; else by gathered calls; else one after the other."""
    put = peer.enqueue_bulk
    if put is not None:
        batches = calls(count)
        started = time.perf_counter()
        for batch in batches:
            put(batch)
        return answer(started, count)
    if peer.aenqueue_bulk is None and peer.aenqueue is None:
        return _enqueue_all(peer, count)

    async def gathered(batch: list[Argument]) -> None:
        await asyncio.gather(*(peer.aenqueue(argument) for argument in batch))

    async def body() -> dict[str, Any]:
        batches = calls(count)
        aput = peer.aenqueue_bulk or gathered
        started = time.perf_counter()
        for batch in batches:
            await aput(batch)
        return answer(started, count)

    return asyncio.run(_opened(peer, body))


def _enqueue_all(peer: Peer, count: int) -> dict[str, Any]:
    arguments = jobs(count)
    started = time.perf_counter()
    for argument in arguments:
        peer.enqueue(argument)
    return answer(started, count)


def _produce(peer: Peer, count: int, every: float) -> dict[str, Any]:
    def stamped(number: int) -> Argument:
        return {"id": number + 1, "email": ADDRESS, "ns": time.time_ns()}

    async def body() -> dict[str, Any]:
        for number in range(count):
            await asyncio.sleep(every)
            await peer.aenqueue(stamped(number))
        return {"count": count}

    if peer.enqueue is None:
        return asyncio.run(_opened(peer, body))
    for number in range(count):
        time.sleep(every)
        peer.enqueue(stamped(number))
    return {"count": count}


def _first(peer: Peer, _count: int, _every: float) -> dict[str, Any]:
    async def body() -> dict[str, Any]:
        await peer.aenqueue({"id": 1, "email": ADDRESS})
        return {"seconds": process_age_s()}

    if peer.enqueue is None:
        return asyncio.run(_opened(peer, body))
    peer.enqueue({"id": 1, "email": ADDRESS})
    return {"seconds": process_age_s()}


def _delayed(peer: Peer, count: int, _every: float) -> dict[str, Any]:
    for batch in calls(count):
        peer.enqueue_delayed(batch)
    return {"count": count}


async def _opened(peer: Peer, body: Callable[[], Awaitable[Any]]) -> Any:
    await peer.open()
    try:
        return await body()
    finally:
        await peer.close()


ACTIONS: dict[str, Callable[[Peer, int, float], dict[str, Any]]] = {
    "prepare": _prepare,
    "enqueue": _enqueue,
    "aenqueue": _aenqueue,
    "gather": _gather,
    "bulk": _bulk,
    "produce": _produce,
    "first": _first,
    "delayed": _delayed,
}

if __name__ == "__main__":
    main()
