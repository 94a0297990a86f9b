"""Who stands behind a lease, and whether that process is dead.

A dead process is known by boot, pid namespace, pid and start time together. Only inside the same
boot and namespace can it be known at all; elsewhere the lease has to run out.
Source: worker identity after Oban's issues 862 and 1365, where reused node names looked alive.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec

from penstock.broker.requests import LeaseFacts, Owner
from penstock.core.names import check_name
from penstock.executors.procfs import exists, read_stat

#: Characters of a given or a host's name that are kept, so that a suffix still fits into 128.
_NAME_CHARS_MAX = 96
#: Begins the names of groups, folders and marks on a host that tell whose they are.
OWNED_PREFIX = "penstock"
#: Parts of such a name: prefix, boot, pid namespace, pid, start time, and what it is for.
_OWNED_PARTS = 6


class Identity(msgspec.Struct, frozen=True):
    """This worker: its name and where it runs.

    Attributes:
        worker: unique name, never used before.
        boot_id: boot of this host.
        pid_namespace: inode of this process's pid namespace.
    """

    worker: str
    host: str
    boot_id: str
    pid_namespace: int

    @classmethod
    def of_this_process(cls, boot_id: str, name: str | None = None) -> Identity:
        """Draw the identity of a new worker, called `name` (else its host's name) and a suffix.

        The suffix makes it unique: a worker that was restarted under the same name must not look
        like the one that died.

        Raises:
            BadSetting: `name` is not a legal worker name.
        """
        host = socket.gethostname()
        called = re.sub(r"[^A-Za-z0-9_.:-]", "-", host) if name is None else name
        worker = f"{called[:_NAME_CHARS_MAX] or 'worker'}@{os.getpid()}-{secrets.token_hex(3)}"
        return cls(
            worker=check_name("worker", worker),
            host=host,
            boot_id=boot_id,
            pid_namespace=Path("/proc/self/ns/pid").stat().st_ino,
        )

    def owner(self, pid: int) -> Owner:
        """Return the owner that process `pid` of this worker is. It must be alive."""
        stat = read_stat(pid)
        return Owner(
            worker=self.worker,
            host=self.host,
            boot_id=self.boot_id,
            pid_namespace=self.pid_namespace,
            pid=pid,
            started_ticks=0 if stat is None else stat.started_ticks,
        )

    def owned_name(self, pid: int) -> str:
        """Return how names begin of what process `pid` of this worker leaves on its host."""
        owner = self.owner(pid)
        whose = (owner.boot_id, owner.pid_namespace, owner.pid, owner.started_ticks)
        return ".".join([OWNED_PREFIX, *map(str, whose)])

    def is_dead(self, owner: Owner) -> bool:
        """Tell whether `owner` is known to be dead; False where nobody here can know."""
        if owner.boot_id != self.boot_id or owner.pid_namespace != self.pid_namespace:
            return False
        stat = read_stat(owner.pid)
        if stat is None:
            # What is hidden from this user may live, and then its lease must run out by itself.
            return not exists(owner.pid)
        if stat.started_ticks != owner.started_ticks:
            return True
        return stat.state in "ZX" and not _has_threads(owner.pid)

    def orphaned(self, leases: Iterable[LeaseFacts]) -> list[LeaseFacts]:
        """Return the leases that nobody alive answers for.

        The lease of a dead runner whose supervisor lives is left to that supervisor: it was told by
        its pidfd, knows what happened, and is about to say so.
        """
        leases = list(leases)
        living = {one.owner.worker for one in leases if not self.is_dead(one.owner)}
        return [
            one
            for one in leases
            if one.owner.worker != self.worker
            and one.owner.worker not in living
            and self.is_dead(one.owner)
        ]


def owner_named(name: str, host: str) -> Owner | None:
    """Return the process whose name stands in `name`, as `owned_name` made it; None: in none."""
    parts = name.split(".")
    is_ours = len(parts) == _OWNED_PARTS and parts[0] == OWNED_PREFIX
    if not is_ours or not all(part.isdecimal() for part in parts[2:5]):
        return None
    namespace, pid, ticks = map(int, parts[2:5])
    return Owner("", host, parts[1], namespace, pid, ticks)


def _has_threads(pid: int) -> bool:
    """Tell whether other threads outlive the main thread, which then looks like a zombie."""
    try:
        with os.scandir(f"/proc/{pid}/task") as threads:
            return sum(1 for _ in threads) > 1
    except OSError:
        return False
