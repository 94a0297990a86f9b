"""What `penstock doctor --worker` shows: this user's workers on this host, by their sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.cli.output import Column, Output
from penstock.cli.times import span
from penstock.core.wording import counted
from penstock.errors import Unavailable
from penstock.worker.supervisor.health import Health, health_dir, health_sockets, read_health


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of asking one socket.

    Attributes:
        state: "ok": live; "problem": not live, or it does not answer; "dead": nobody listens any
            more, the worker was killed and left its socket behind.
        text: why it is not ok, in words.
        health: what the worker said, null where it said nothing.
    """

    socket: str
    state: str
    text: str
    health: Health | None


def ask_all() -> Iterator[Answer]:
    """Ask every worker of this user, one after the other, two seconds each at most."""
    for path in health_sockets(health_dir(os.environ)):
        yield _ask(path)


def _ask(path: Path) -> Answer:
    try:
        health = read_health(path)
    except Unavailable as error:
        dead = isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)
        text = f"nobody listens: it was killed; remove {path}" if dead else str(error)
        return Answer(socket=str(path), state="dead" if dead else "problem", text=text, health=None)
    state = "ok" if health.live else "problem"
    return Answer(socket=str(path), state=state, text=health.wrong, health=health)


def show(out: Output, answers: list[Answer]) -> None:
    """Print the answers for people: one line per worker, then its processes."""
    columns = ("state", "worker", "pid", "phase", "up", "running", "settled", "runners", "queues")
    rows = [[one.state, *_cells(one.health)] for one in answers if one.health is not None]
    if rows:
        out.table([Column(title, whole=title == "worker") for title in columns], rows)
    for one in answers:
        if one.text:
            name = one.socket if one.health is None else one.health.worker
            out.line(f"{one.state}: {name}: {one.text}")


def _cells(health: Health) -> list[str]:
    running = sum(r.running for r in health.runners) + sum(
        c.job is not None for c in health.children
    )
    children = counted(len(health.children), "child", "children")
    runners = f"{len(health.runners)} and {children}"
    return [
        health.worker,
        str(health.pid),
        health.phase,
        span(health.uptime_ms),
        str(running),
        str(health.settled),
        runners,
        ",".join(health.queues),
    ]
