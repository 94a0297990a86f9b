"""Connections of one process, as many as threads use at a time.

A connection belongs to the process that opened it: two that write to one socket would mix their
statements. A forked child forgets what it inherited, without a word to the server, and opens its
own. Safe to call from many threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from penstock.errors import WrongContext

from .connection import Connection

#: Connections kept open between calls. A burst of threads may open more; each is a process of the
#: server, and opening one anew takes some milliseconds.
_IDLE_MAX: Final = 8


class Pool:
    """The idle connections of this process, newest last.

    Bound: of those that nobody uses, `_IDLE_MAX` stay open.
    """

    def __init__(self, connect: Callable[[], Connection], location: str) -> None:
        """Connect at the first call."""
        self._connect = connect
        self._location = location
        self._is_closed = False
        self._begin()

    def take(self, *, is_fresh: bool = False) -> Connection:
        """Return a connection that nobody else uses; give it back.

        Args:
            is_fresh: open a new one, and close those that are idle: they may be as dead as the
                last one was.

        Raises:
            WrongContext: the pool is closed.
            psycopg.Error: none can be opened.
        """
        self.check_open()
        if self._pid != os.getpid():
            # Race: a lock that another thread of the parent held would be held for ever.
            self._begin()
        if is_fresh:
            self._drop_idle()
        while (connection := self._pop()) is not None:
            if connection.is_usable():
                return connection
            connection.close()
        return self._connect()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next call, or close it where it is broken or one too many."""
        if connection.is_usable():
            with self._lock:
                if len(self._idle) < _IDLE_MAX and not self._is_closed:
                    self._idle.append(connection)
                    return
        connection.close()

    def check_open(self) -> None:
        """Refuse calls on a closed broker.

        Raises:
            WrongContext: it is closed.
        """
        if self._is_closed:
            raise WrongContext(f"the broker on {self._location} is closed: open a new one")

    def close(self) -> None:
        """Close what is idle now, and the others when they are given back."""
        self._is_closed = True
        if self._pid == os.getpid():
            self._drop_idle()

    def _begin(self) -> None:
        inherited: list[Connection] = getattr(self, "_idle", [])
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._pid = os.getpid()
        for connection in inherited:
            # The parent's session goes on: only this process's copy of its socket is closed.
            with suppress(OSError):
                os.close(connection.pgconn.socket)

    def _pop(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _drop_idle(self) -> None:
        while (connection := self._pop()) is not None:
            connection.close()
