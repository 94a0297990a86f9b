"""A place to be woken at: one channel, one connection."""

from __future__ import annotations

import os
import secrets
import select
from collections.abc import Callable
from contextlib import suppress

from redis import exceptions as e

from penstock.errors import BrokerError, OutcomeUnknown, Unavailable, WrongContext

from .server import Server, Wire


class RedisListener:
    """Woken from any host through a channel of the server. Belongs to the process that opened it.

    A wake-up that is lost with its connection is made good by the claimer's slow poll; the channel
    is subscribed to again at the next `drain`.

    Args:
        server: where the channel is.
        root: root of all keys and channels.
        forget: told the token when it is given up.
    """

    def __init__(self, server: Server, root: str, forget: Callable[[str], None]) -> None:
        self.token = secrets.token_hex(16)
        self._server = server
        self._channel = f"{root}:wake:{self.token}"
        self._forget = forget
        self._pid = os.getpid()
        self._connection: Wire | None = self._subscribe()

    def fileno(self) -> int:
        """Return the descriptor of the connection, -1 once closed."""
        connection = self._connection
        sock = None if connection is None else connection._sock  # noqa: SLF001 - no other way
        return -1 if sock is None else int(sock.fileno())

    def drain(self) -> bool:
        """Forget the wake-ups so far; return whether there was one. Never blocks for an answer.

        Raises:
            WrongContext: in a process forked from the owner, which would steal its wake-ups.
        """
        if self._pid != os.getpid():
            raise WrongContext("this listener belongs to the parent process: open one here")
        woken = False
        with suppress(BrokerError):
            while self._connection is not None and self._is_readable(self._connection, 0):
                woken = self._read(self._connection) or woken
        return woken

    def wait(self, timeout_s: float) -> bool:
        """Block until woken or `timeout_s` passed; return whether woken. Forgets the wake-ups."""
        if self._connection is not None:
            self._is_readable(self._connection, timeout_s)
        return self.drain()

    def close(self) -> None:
        """Give the address up. In a forked process only this process's descriptor is closed."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._pid == os.getpid():
            self._server.give_back(connection)
            self._forget(self.token)

    def _subscribe(self) -> Wire:
        connection = self._server.connection()
        try:
            connection.send_command("SUBSCRIBE", self._channel)
            connection.read_response()
        except (e.RedisError, OSError) as error:
            self._server.give_back(connection)
            where = self._server.where
            raise Unavailable(f"{where}: no channel to be woken at: {error}") from error
        return connection

    def _is_readable(self, connection: Wire, timeout_s: float) -> bool:
        if connection.can_read(0):
            # Read from the socket already, and not taken yet.
            return True
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def _read(self, connection: Wire) -> bool:
        """Take one message; return whether it is a wake-up. A broken channel is opened anew."""
        try:
            answer = connection.read_response(disconnect_on_error=False)
        except (e.RedisError, OSError, OutcomeUnknown):
            self._server.give_back(connection)
            self._connection = self._subscribe()
            # Whatever was sent meanwhile is lost: look again.
            return True
        return bool(answer[0] == b"message")
