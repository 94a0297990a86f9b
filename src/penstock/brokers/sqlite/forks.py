"""What a fork of this process does to the files that are open in it."""

from __future__ import annotations

import os
import threading
from typing import Final, Protocol
from weakref import WeakSet


class Pausable(Protocol):
    """An open file that stands still while the process forks."""

    def pause(self) -> None:
        """Let the calls in progress end, let go of the file, and let no call start."""

    def resume(self) -> None:
        """Let calls start again, in the parent."""

    def begin_anew(self) -> None:
        """Let calls start again, in the child."""


class ForkHooks:
    """The open files of this process, paused before each of its forks and resumed after it."""

    def __init__(self) -> None:
        """Hang the hooks in; Python has no way to take them out again."""
        self._files: WeakSet[Pausable] = WeakSet()
        self._paused: list[Pausable] = []
        # Race: held over the whole fork, so that a file which another thread opens meanwhile is
        # neither in the child without having been paused, nor resumed without having been paused.
        self._lock = threading.Lock()
        self._forking: int | None = None
        os.register_at_fork(
            before=self._pause, after_in_parent=self._resume, after_in_child=self._begin_anew
        )

    def add(self, file: Pausable) -> None:
        """Pause `file` around forks as long as it lives. Waits for a fork in progress.

        Call it before the file is opened, and never inside a transaction, for which a fork waits.
        """
        with self._lock:
            self._files.add(file)

    def _pause(self) -> None:
        self._lock.acquire()
        self._forking = threading.get_ident()
        for file in list(self._files):
            file.pause()
            self._paused.append(file)

    def _resume(self) -> None:
        for file in self._end():
            file.resume()

    def _begin_anew(self) -> None:
        for file in self._end():
            file.begin_anew()

    def _end(self) -> list[Pausable]:
        """Let files be opened again; return those that are to be resumed."""
        # Race: where `_pause` was interrupted before it had the lock, another thread's fork has it.
        if self._forking != threading.get_ident():
            return []
        paused, self._paused = self._paused, []
        self._forking = None
        self._lock.release()
        return paused


#: The hooks of this process. Module state, which is otherwise not allowed here: what
#: `os.register_at_fork` was given stays until the process ends, so hooks per opened file would pile
#: up for ever, and one lock must stand between all forks and all openings. Nothing but forks reads
#: it, and files are held weakly, so it changes no answer and keeps nothing alive.
FORK_HOOKS: Final = ForkHooks()
