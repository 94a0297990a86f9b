"""Which worker of this host has a GPU: a locked file for each device.

A worker holds a device for as long as a job of its has it, or a child of its sees it: an idle child
keeps what it has loaded there. The kernel drops the lock of a worker that dies. Workers of other
users, and of containers with a folder of their own, do not know of each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Final

from .own_folder import open_files

_log = logging.getLogger("penstock.worker")

#: Times that a lock is asked for: others take it for microseconds, to see whether it is free.
_TRIES: Final = 3


class DeviceLocks:
    """The locks of one worker."""

    def __init__(self, folder: Path | None, uuids: Collection[str]) -> None:
        """Open the files of these devices; none is locked yet.

        Args:
            folder: where, made if it is not there; None: there is no other worker.
            uuids: of the devices.
        """
        self._files: dict[str, int] = {}
        self._holders: dict[Hashable, frozenset[str]] = {}
        try:
            if folder is not None and uuids:
                self._open(folder, uuids)
        except OSError as error:
            _log.warning("this worker does not share its GPUs with others: %s", error)
            self.close()

    def _open(self, folder: Path, uuids: Collection[str]) -> None:
        names = {
            uuid: f"gpu-{hashlib.blake2b(uuid.encode(), digest_size=8).hexdigest()}.lock"
            for uuid in uuids
        }
        opened = open_files(folder, names.values())
        self._files = {uuid: opened[name] for uuid, name in names.items()}

    def others(self) -> frozenset[str]:
        """Return the devices that other workers have now."""
        own = self._held
        return frozenset(
            uuid for uuid in self._files if uuid not in own and not self._is_free(uuid)
        )

    def hold(self, holder: Hashable, uuids: Collection[str]) -> bool:
        """Hold devices for a job or a child; return False if another worker has one of them."""
        new = [uuid for uuid in uuids if uuid in self._files and uuid not in self._held]
        locked: list[str] = []
        for uuid in new:
            if not any(self._lock(uuid) for _ in range(_TRIES)):
                for one in locked:
                    self._unlock(one)
                return False
            locked.append(uuid)
        if uuids:
            self._holders[holder] = frozenset(uuids)
        return True

    def drop(self, holder: Hashable) -> None:
        """End what `holder` held; a device that nobody here holds is free for others."""
        gone = self._holders.pop(holder, frozenset())
        for uuid in gone - self._held:
            self._unlock(uuid)

    def close(self) -> None:
        """Give everything back."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        self._holders.clear()

    @property
    def _held(self) -> frozenset[str]:
        return frozenset().union(*self._holders.values())

    def _is_free(self, uuid: str) -> bool:
        is_free = self._lock(uuid)
        if is_free:
            self._unlock(uuid)
        return is_free

    def _lock(self, uuid: str) -> bool:
        try:
            fcntl.flock(self._files[uuid], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(self, uuid: str) -> None:
        if uuid in self._files:
            fcntl.flock(self._files[uuid], fcntl.LOCK_UN)
