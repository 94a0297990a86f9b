"""`concurrency` of a queue is kept by a worker that serves several."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.command_line import environment, penstock

APP = """
import asyncio
import time

from penstock import App

app = App()


def note(name, at):
    with open("trace", "a") as file:
        file.write(f"{name} {at} {time.monotonic_ns()}\\n")


@app.task(name="few")
async def few() -> None:
    note("few", 1)
    await asyncio.sleep(0.05)
    note("few", -1)


@app.task(name="plain")
def plain() -> None:
    note("plain", 1)
    time.sleep(0.05)
    note("plain", -1)


@app.task(name="free")
async def free() -> None:
    note("free", 1)
    await asyncio.sleep(0.2)
    note("free", -1)


@app.task(name="lone", isolation="process")
def lone() -> None:
    note("lone", 1)
    time.sleep(0.1)
    note("lone", -1)


if __name__ == "__main__":
    calls = [task.call() for task in (few, plain, free, lone) for _ in range(8)]
    app.enqueue_many(calls)
"""
FILE = """
concurrency = 4

[queues.two]
concurrency = 2

[queues.one]
concurrency = 1

[routes]
few = "two"
plain = "two"
lone = "one"
"""


def most_at_once(folder: Path) -> dict[str, int]:
    """Return how many jobs of each kind ran at once at most; those of the queue `two` together."""
    lines = [line.split() for line in (folder / "trace").read_text().splitlines()]
    most: dict[str, int] = {}
    running: dict[str, int] = {}
    for name, change, _ in sorted(lines, key=lambda line: (int(line[2]), int(line[1]))):
        kind = "two" if name in {"few", "plain"} else name
        running[kind] = running.get(kind, 0) + int(change)
        most[kind] = max(most.get(kind, 0), running[kind])
    assert set(running.values()) == {0}
    return most


def test_a_worker_keeps_the_limit_of_each_queue(tmp_path: Path) -> None:
    """Coroutines and threads together, and children, never pass the limit of their queue."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "penstock.toml").write_text(FILE)
    subprocess.run(
        [sys.executable, "shop.py"], cwd=tmp_path, env=environment(tmp_path), check=True, timeout=60
    )
    ended = penstock("worker", "shop", "--burst", folder=tmp_path)
    assert ended.code == 0, ended
    counts = {
        row["queue"]: row["states"]["completed"]
        for row in penstock("queues", "--json", folder=tmp_path).document["queues"]
    }
    assert counts == {"default": 8, "one": 8, "two": 16}
    found = most_at_once(tmp_path)
    assert (found["two"], found["lone"]) == (2, 1)
    assert found["free"] > 2
