"""File systems for SQLite that misbehave: calls that fail, and power that goes.

Both pass every call on to SQLite's own file system, so that what runs is the real thing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import apsw
import pytest

#: Name under which SQLite knows the file system of a test.
NAME = "penstock-test"


class Watch:
    """What files tell before a call is passed on. Subclasses may refuse it by raising."""

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Note that `data` is written to file `name`."""

    def sync(self, name: str) -> None:
        """Note that file `name` is synced."""

    def truncate(self, name: str, size: int) -> None:
        """Note that file `name` is cut to `size`."""

    def delete(self, name: str) -> None:
        """Note that file `name` is removed."""


class Faults(Watch):
    """Lets one call fail, once.

    Attributes:
        kind: "write" or "sync".
        left: calls of this kind until one fails; 0: none does.
        hit: whether one has failed.
        calls: how many there were of each kind.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.kind = ""
        self.left = 0
        self.hit = False

    def arm(self, kind: str, number: int) -> None:
        """Let the `number`-th call of `kind` from now on fail."""
        self.kind, self.left, self.hit = kind, number, False

    def disarm(self) -> bool:
        """Let no more calls fail; return whether one did."""
        self.left = 0
        return self.hit

    def write(self, name: str, offset: int, data: bytes) -> None:  # noqa: ARG002 - any write
        """Fail where this write is the one."""
        self._meet("write", apsw.SQLITE_IOERR_WRITE)

    def sync(self, name: str) -> None:  # noqa: ARG002 - any sync
        """Fail where this sync is the one."""
        self._meet("sync", apsw.SQLITE_IOERR_FSYNC)

    def _meet(self, kind: str, code: int) -> None:
        self.calls[kind] += 1
        if kind != self.kind or self.left == 0:
            return
        self.left -= 1
        if self.left == 0:
            self.hit = True
            error = apsw.IOError("made to fail")
            error.extendedresult = code  # type: ignore[attr-defined]  # missing in apsw's stubs
            raise error


class Power(Watch):
    """Knows which bytes of each file would be on the disk if the power went now.

    What was synced is there. Of what was written since then any part may be there, in any order.
    """

    def __init__(self) -> None:
        self._synced: dict[str, bytearray] = {}
        self._pending: dict[str, list[tuple[int, bytes]]] = {}

    def adopt(self, path: Path) -> None:
        """Take what a database and its log hold as on the disk."""
        for file in (path, path.with_name(f"{path.name}-wal")):
            if file.exists():
                self._synced[str(file)] = bytearray(file.read_bytes())

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Keep a write that is not on the disk yet."""
        self._pending.setdefault(name, []).append((offset, bytes(data)))

    def sync(self, name: str) -> None:
        """Put all writes of a file on the disk."""
        image = self._synced.setdefault(name, bytearray())
        for offset, data in self._pending.pop(name, []):
            _apply(image, offset, data)

    def truncate(self, name: str, size: int) -> None:
        """Cut a file; taken as on the disk at once, which is the harder case."""
        self.sync(name)
        del self._synced[name][size:]

    def delete(self, name: str) -> None:
        """Forget a file."""
        self._synced.pop(name, None)
        self._pending.pop(name, None)

    def cut(self, path: Path, folder: Path, chance: random.Random) -> Path:
        """Write a database and its log into `folder` as they would be found; return its path."""
        kept = chance.choice((0.0, 0.5, 0.9))
        for name in (str(path), f"{path}-wal"):
            image = bytearray(self._synced.get(name, b""))
            for offset, data in self._pending.get(name, []):
                if chance.random() < kept:
                    _apply(image, offset, data)
            (folder / Path(name).name).write_bytes(image)
        return folder / path.name


def _apply(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset:
        image.extend(b"\0" * (offset - len(image)))
    image[offset : offset + len(data)] = data


class _File(apsw.VFSFile):
    def __init__(self, watch: Watch, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._watch = watch
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._watch.write(self._name, offset, data)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._watch.sync(self._name)
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802 - SQLite's name
        self._watch.truncate(self._name, size)
        super().xTruncate(size)


class _System(apsw.VFS):
    def __init__(self, watch: Watch) -> None:
        super().__init__(NAME, "")
        self._watch = watch

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 - SQLite's name
        return _File(self._watch, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 - SQLite's names
        self._watch.delete(filename)
        super().xDelete(filename, syncdir)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let every connection of the adapter go through a file system that tells `watch`.

    All of them must be closed in the end: SQLite would call a file system that is gone.
    """
    system = _System(watch)
    opener = partial(apsw.Connection, vfs=NAME)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.brokers.sqlite.connection.apsw.Connection", opener)
        yield
    system.unregister()
