"""What `penstock doctor` looks at; each check yields what it found, and never raises."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from penstock.broker.requests import BrokerFacts, Durability, LeaseFacts, QueueCounts
from penstock.cli.times import span
from penstock.cli.unheld import is_live, unheld
from penstock.core.wording import counted
from penstock.errors import BrokerError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.config.resolve import Config

#: What opening a broker may raise; each is a finding, not the end of the check.
BROKER_TROUBLE: Final = (BrokerError, UsageError)


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. `state` is ok, warning or problem."""

    state: str
    what: str
    text: str


class WorkerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One open lease: a process of a worker and what it serves.

    Attributes:
        expires_in_ms: until the lease runs out unless it is extended; negative: it has; null: it
            was opened under another boot of its host.
        running: jobs that run under it.
        dead: its worker is known to be dead: killed on this host, under this boot.
    """

    worker: str
    host: str
    pid: int
    queues: tuple[str, ...]
    expires_in_ms: int | None
    running: int
    dead: bool = False

    @classmethod
    def of(cls, lease: LeaseFacts, *, dead: bool) -> WorkerRow:
        """Return the row of a lease."""
        return cls(
            worker=lease.owner.worker,
            host=lease.owner.host,
            pid=lease.owner.pid,
            queues=lease.queues,
            expires_in_ms=lease.expires_in_ms,
            running=lease.running,
            dead=dead,
        )


def of_installation() -> Iterator[Finding]:
    """Versions, for bug reports."""
    from importlib.metadata import version

    system = f"{platform.system()} {platform.release()}"
    text = f"{version('penstock')} on Python {platform.python_version()}, {system}"
    yield Finding("ok", "penstock", f"{text}, {sys.executable}")


def of_settings(config: Config) -> Iterator[Finding]:
    """Where settings come from, and what looks like a mistake in them."""
    file = "no settings file" if config.file is None else str(config.file)
    changed = [value for value in config.values.values() if value.origin != "default"]
    yield Finding("ok", "settings", f"{file}; {len(changed)} of {len(config.values)} are set")
    for warning in config.warnings:
        yield Finding("warning", "settings", warning)


def of_broker(facts: BrokerFacts) -> Iterator[Finding]:
    """What the broker is, and what endangers jobs there."""
    schema = "" if facts.schema_version is None else f", schema version {facts.schema_version}"
    yield Finding("ok", "broker", f"{facts.kind} {facts.version} at {facts.location}{schema}")
    if facts.kind == "sqlite":
        yield from _of_file(facts.location)
    if facts.durability in {Durability.NONE, Durability.LOCAL}:
        can_keep = Durability.FSYNC in facts.durabilities
        keeps = "fsync keeps them" if can_keep else f"this {facts.kind} is not set up to keep them"
        text = f"{facts.durability}: power loss may take the last jobs; {keeps}"
        yield Finding("warning", "durability", text)
    else:
        yield Finding("ok", "durability", f"{facts.durability}")
    for warning in facts.warnings:
        yield Finding("problem", "broker", warning)
    for advice in facts.advice:
        yield Finding("warning", "broker", advice)


def _of_file(location: str) -> Iterator[Finding]:
    import shutil
    from pathlib import Path

    path = Path(location)
    kind = _file_system(path)
    try:
        taken, free = path.stat().st_size, shutil.disk_usage(path.parent).free
    except OSError as error:
        yield Finding("problem", "file", f"{path} cannot be looked at: {error.strerror}")
        return
    text = f"{taken / 2**20:.1f} MiB on {kind}, {free / 2**30:.1f} GiB free"
    few = free < FREE_BYTES_MIN
    yield Finding("warning" if few else "ok", "file", text + ("; make room" if few else ""))


def _file_system(path: Path) -> str:
    """Return the kind of file system that a file is on."""
    import psutil

    mounts = [m for m in psutil.disk_partitions(all=True) if path.is_relative_to(m.mountpoint)]
    inner = max(mounts, key=lambda mount: len(mount.mountpoint), default=None)
    return inner.fstype if inner is not None else "an unknown file system"


#: Bytes free under which a busy queue may fill the disk before somebody looks.
FREE_BYTES_MIN: Final = 2**30


def dead_workers(leases: Sequence[LeaseFacts]) -> frozenset[str]:
    """Return the names of the workers that were killed on this host.

    A worker of another host, boot or pid namespace cannot be known from here: it is not among them.
    """
    from penstock.broker.clock import SystemClock
    from penstock.worker.supervisor.identity import Identity

    here = Identity.of_this_process(SystemClock().boot_id)
    return frozenset(lease.owner.worker for lease in here.orphaned(leases))


def of_workers(
    leases: Sequence[LeaseFacts], queues: Sequence[QueueCounts], dead: frozenset[str]
) -> Iterator[Finding]:
    """Who works, what nobody works on, and what the dead have left behind.

    Args:
        leases: all that are open.
        queues: all there are.
        dead: names of workers that are known to be dead, though their leases may still run.
    """
    live = [one for one in leases if is_live(one) and one.owner.worker not in dead]
    served = {queue for lease in live for queue in lease.queues}
    names = {lease.owner.worker for lease in live}
    yield Finding("ok" if names else "warning", "workers", f"{len(names)} at work")
    for name in sorted(dead):
        running = sum(lease.running for lease in leases if lease.owner.worker == name)
        are = counted(running, "running job is", "running jobs are")
        rest = f"; its {are} taken over by the next worker" if running else ""
        # A worker at work takes them over by itself within seconds.
        state = "problem" if running and not names else "warning"
        yield Finding(state, "workers", f"{name} was killed{rest}")
    for lease in leases:
        if lease.owner.worker not in dead and not is_live(lease) and lease.running:
            since = span(-(lease.expires_in_ms or 0))
            jobs = counted(lease.running, "running job")
            yield Finding(
                "problem",
                "workers",
                f"the lease of {lease.owner.worker} ran out {since} ago with {jobs}: start a "
                "worker, which takes over",
            )
    for counts in queues:
        yield from _of_queue(counts, is_served=counts.queue in served)


def of_stances(leases: Sequence[LeaseFacts], dead: frozenset[str]) -> Iterator[Finding]:
    """Workers that take less than they could for the moment.

    Args:
        leases: all that are open.
        dead: names of workers that are known to be dead.
    """
    for lease in leases:
        stance = None if lease.capacity is None else lease.capacity.stance
        if stance is None or lease.owner.worker in dead or not is_live(lease):
            continue
        who = lease.owner.worker
        if stance.is_quiet:
            text = f"{who} takes nothing: it is in quiet mode, which SIGCONT ends, or drains"
            yield Finding("warning", "workers", text)
        if stance.is_pressed:
            text = f"memory is short on {lease.owner.host}: {who} starts no more jobs in children"
            yield Finding("warning", "workers", text)


def of_needs(
    needs: Mapping[str, Sequence[str]], leases: Sequence[LeaseFacts], dead: frozenset[str]
) -> Iterator[Finding]:
    """Jobs that no live worker of their queue could hold; the arguments are those of `unheld`."""
    for one in unheld(needs, leases, dead):
        yield Finding("problem", f"queue {one.queue}", one.text)


def _of_queue(counts: QueueCounts, *, is_served: bool) -> Iterator[Finding]:
    queue, waiting = counts.queue, counts.queued + counts.scheduled + counts.retrying
    waits = counted(waiting, "job waits", "jobs wait")
    if counts.paused:
        yield Finding(
            "warning",
            f"queue {queue}",
            f"is paused, {waits}: penstock queues resume {queue}",
        )
    elif waiting and not is_served:
        yield Finding(
            "problem",
            f"queue {queue}",
            f"{waits} and no worker serves it: penstock worker ... --queues {queue}",
        )
    else:
        yield Finding(
            "ok",
            f"queue {queue}",
            f"{counted(waiting, 'waits', 'wait')}, {counted(counts.running, 'runs', 'run')}",
        )
    if counts.dead:
        text = f"{counted(counts.dead, 'dead job')}: see penstock dead"
        yield Finding("warning", f"queue {queue}", text)
