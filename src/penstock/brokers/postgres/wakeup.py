"""How one process wakes another: NOTIFY on a channel per listener.

Each listener has a connection of its own and a thread that reads it, so that its descriptor stays
the same when the server is started again: the thread listens anew, and says so with a wake-up,
since some may have been missed.
"""

from __future__ import annotations

import os
import secrets
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg

from penstock.errors import WrongContext

from .connection import Connection

#: Seconds between tries to reach a server that is gone: jobs come back within two of its start.
_RECONNECT_S: Final = 0.5


class NotifyListener:
    """A place to be woken at, from any host. Belongs to the process that opened it.

    `wait` and `drain` belong to the thread that sleeps; `close` may come from any.
    """

    def __init__(self, connect: Callable[[], Connection], forget: Callable[[str], None]) -> None:
        """Connect and listen.

        Args:
            connect: opens a connection.
            forget: told the token when it is given up.

        Raises:
            psycopg.Error: the server cannot be reached.
        """
        self.token = secrets.token_hex(16)
        self.breaks = 0
        self._connect = connect
        self._forget = forget
        self._pid = os.getpid()
        connection = self._listen()
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(
            target=self._hear, args=(connection,), name="penstock-listener", daemon=True
        )
        self._thread.start()

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._fd

    def drain(self) -> bool:
        """Forget the wake-ups so far; return whether there was one. Never blocks.

        Raises:
            WrongContext: in a process forked from the owner, which would steal its wake-ups.
        """
        if self._pid != os.getpid():
            raise WrongContext("this listener belongs to the parent process: open one here")
        if self._fd < 0:
            return False
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True

    def wait(self, timeout_s: float) -> bool:
        """Block until woken or `timeout_s` passed; return whether woken. Forgets the wake-ups."""
        if self._fd >= 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.poll(timeout_s * 1000)
        return self.drain()

    def close(self) -> None:
        """Give the address up. In a forked process only this process's descriptors are closed."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._pid == os.getpid():
            os.eventfd_write(self._stop_fd, 1)
            self._thread.join()
            self._forget(self.token)
        os.close(fd)
        os.close(self._stop_fd)

    def _listen(self) -> Connection:
        connection = self._connect()
        # The token is hexadecimal digits of ours; who would wake it looks for the session's name.
        connection.execute(f"SET application_name = 'penstock-{self.token}'".encode())
        connection.execute(f"LISTEN penstock_{self.token}".encode())
        return connection

    def _hear(self, connection: Connection | None) -> None:
        """Turn notifications into wake-ups until closed; runs in the thread."""
        wake_up_fd = self._fd
        while True:
            if connection is None:
                connection = self._listen_again()
                if connection is not None:
                    self.breaks += 1
                    os.eventfd_write(wake_up_fd, 1)
            if self._is_stopped_within(connection):
                break
            if connection is not None and not self._pass_on(connection, wake_up_fd):
                self.breaks += 1
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _listen_again(self) -> Connection | None:
        with suppress(psycopg.Error):
            return self._listen()
        return None

    def _is_stopped_within(self, connection: Connection | None) -> bool:
        """Wait for a notification, or for the next try to connect; return whether closed."""
        poll = select.poll()
        poll.register(self._stop_fd, select.POLLIN)
        if connection is None:
            return bool(poll.poll(_RECONNECT_S * 1000))
        poll.register(connection.pgconn.socket, select.POLLIN)
        return any(fd == self._stop_fd for fd, _ in poll.poll())

    @staticmethod
    def _pass_on(connection: Connection, wake_up_fd: int) -> bool:
        """Read what the server sent; return whether it is still there."""
        try:
            connection.pgconn.consume_input()
            while connection.pgconn.notifies() is not None:
                os.eventfd_write(wake_up_fd, 1)
        except psycopg.Error:
            return False
        return True
