"""The control group in which one contestant lives, with all its processes; version 1 or 2."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
#: Seconds between two looks at the memory of the group: 100 a second.
LOOK_S = 0.01


@dataclass
class Memory:
    """What was seen of a group.

    Attributes:
        kills: processes that the kernel killed for want of memory.
        hits: times that the limit was hit (`failcnt`, or `max` of version 2), page cache included.
        anonymous_bytes: the most that it held of memory that no file stands behind.
        looks: (seconds since the start, anonymous bytes).
    """

    kills: int = 0
    hits: int = 0
    anonymous_bytes: int = 0
    looks: list[tuple[float, int]] = field(default_factory=list)


class Group:
    """One group with a limit, watched until it is closed."""

    def __init__(self, limit_bytes: int) -> None:
        """Make it below the group of this process.

        Raises:
            RuntimeError: this user may not, or no version has a memory controller here.
        """
        self.is_v1 = (ROOT / "memory" / "memory.limit_in_bytes").exists()
        try:
            self.folder = self._parent() / f"penstock-bench-{os.getpid()}-{time.monotonic_ns()}"
            self.folder.mkdir()
            name = "memory.limit_in_bytes" if self.is_v1 else "memory.max"
            (self.folder / name).write_text(str(limit_bytes))
        except OSError as error:
            raise RuntimeError(f"no memory group can be made here: {error}") from error
        self.memory = Memory()
        self._began_s = time.monotonic()
        self._ends = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def _parent(self) -> Path:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if self.is_v1 and "memory" in controllers.split(","):
                return ROOT / "memory" / path.lstrip("/")
            if not self.is_v1 and not controllers:
                return ROOT / path.lstrip("/")
        raise OSError("this process is in no memory group")

    @property
    def procs(self) -> Path:
        """The file to which a process writes 0 to move in."""
        return self.folder / "cgroup.procs"

    def restart(self) -> None:
        """Forget what was seen so far."""
        self.memory, self._began_s = Memory(), time.monotonic()

    def close(self) -> None:
        """Stop watching and remove the group, which is empty by now or soon."""
        self._ends.set()
        self._watch.join()
        for _ in range(500):
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.01)

    def counters(self) -> tuple[int, int]:
        """Return (kills, hits of the limit) since the group was made."""
        if self.is_v1:
            hits = int((self.folder / "memory.failcnt").read_text())
            words = (self.folder / "memory.oom_control").read_text().split()
            return int(words[words.index("oom_kill") + 1]), hits
        words = (self.folder / "memory.events").read_text().split()
        return int(words[words.index("oom_kill") + 1]), int(words[words.index("max") + 1])

    def _look(self) -> None:
        wanted = b"total_rss" if self.is_v1 else b"anon"
        while not self._ends.wait(LOOK_S):
            memory, began_s = self.memory, self._began_s
            for line in (self.folder / "memory.stat").read_bytes().splitlines():
                name, _, value = line.partition(b" ")
                if name == wanted:
                    held = int(value)
                    memory.anonymous_bytes = max(memory.anonymous_bytes, held)
                    memory.looks.append((time.monotonic() - began_s, held))
                    break
            memory.kills, memory.hits = self.counters()


@contextlib.contextmanager
def limited(limit_bytes: int) -> Iterator[Group]:
    """Make a group for a while."""
    group = Group(limit_bytes)
    try:
        yield group
    finally:
        group.close()
