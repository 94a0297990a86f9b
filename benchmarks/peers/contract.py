"""What every contestant's script answers, so that one harness can measure them all.

A script is started in the contestant's own environment, in its own process, as
`python -m contract PEER ACTION --count N`, told its file and class (local or fsync) by
`$BENCH_DATABASE` and `$BENCH_DURABILITY`:

- `enqueue`: put N no-op jobs in, one call each; print seconds and the latency of each call;
- `bulk`: put N no-op jobs in with the contestant's bulk call; print seconds;
- `produce`: one job every `--every` seconds, stamped just before the call;
- `first`: import, connect, put one job in; print the process age when it was accepted;
- `delayed`: put N no-ops in that are due in an hour (Penstock alone).

The worker is a command, printed by `worker`. Its no-op writes the stamp of its first call to
`$BENCH_MARKS/first`, and, for stamped jobs, each latency to `$BENCH_MARKS/latency`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any, Protocol

#: The one small dict argument of the no-op, as peers.md has it: about 100 bytes as a message.
ADDRESS = "user@example.com"
#: Jobs per bulk call; what is cut smaller inside is the contestant's affair.
BULK_CALL_JOBS = 500


class Peer(Protocol):
    """One contestant with its database open."""

    def enqueue(self, argument: dict[str, Any]) -> None:
        """Put one no-op in."""

    def enqueue_bulk(self, arguments: list[dict[str, Any]]) -> None:
        """Put many no-ops in with one call."""

    def enqueue_delayed(self, arguments: list[dict[str, Any]]) -> None:
        """Put many no-ops in that are due in an hour."""


def note_start(argument: dict[str, Any]) -> Any:
    """Be the body of the no-op: leave the marks, return a small value."""
    if "ns" in argument:
        late_ns = time.time_ns() - argument["ns"]
        with (Path(os.environ["BENCH_MARKS"]) / "latency").open("a") as file:
            file.write(f"{late_ns}\n")
    elif argument["id"] == 0:
        (Path(os.environ["BENCH_MARKS"]) / "first").write_text(str(time.time_ns()))
    return argument["id"]


def process_age_s() -> float:
    """Return the seconds since this process was started, its interpreter's start included."""
    start_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return now_s - start_ticks / os.sysconf("SC_CLK_TCK")


def jobs(count: int) -> list[dict[str, Any]]:
    """Return the arguments of `count` no-ops."""
    return [{"id": number, "email": ADDRESS} for number in range(count)]


def main() -> None:
    """Answer one action from the command line; print one JSON document."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("action")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--every", type=float, default=0.02)
    options = parser.parse_args()
    peer = importlib.import_module(options.peer).Peer()
    print(json.dumps(ACTIONS[options.action](peer, options)))


def _enqueue(peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    arguments = jobs(options.count)
    peer.enqueue({"id": -1, "email": ADDRESS})
    started = time.perf_counter()
    for argument in arguments:
        peer.enqueue(argument)
    return {"seconds": time.perf_counter() - started, "count": options.count}


def _bulk(peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    arguments = jobs(options.count)
    started = time.perf_counter()
    for at in range(0, len(arguments), BULK_CALL_JOBS):
        peer.enqueue_bulk(arguments[at : at + BULK_CALL_JOBS])
    return {"seconds": time.perf_counter() - started, "count": options.count}


def _produce(peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    call_ms = []
    for number in range(options.count):
        time.sleep(options.every)
        started = time.perf_counter()
        peer.enqueue({"id": number + 1, "email": ADDRESS, "ns": time.time_ns()})
        call_ms.append((time.perf_counter() - started) * 1000)
    return {"call_ms": call_ms}


def _first(peer: Peer, _: argparse.Namespace) -> dict[str, Any]:
    peer.enqueue({"id": 1, "email": ADDRESS})
    return {"seconds": process_age_s()}


def _delayed(peer: Peer, options: argparse.Namespace) -> dict[str, Any]:
    arguments = jobs(options.count)
    for at in range(0, len(arguments), BULK_CALL_JOBS):
        peer.enqueue_delayed(arguments[at : at + BULK_CALL_JOBS])
    return {"count": options.count}


ACTIONS = {
    "enqueue": _enqueue,
    "bulk": _bulk,
    "produce": _produce,
    "first": _first,
    "delayed": _delayed,
}

if __name__ == "__main__":
    main()
