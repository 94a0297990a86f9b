"""A network that fails on command: a proxy on 127.0.0.1 between a client and a server."""

from __future__ import annotations

import select
import socket
import threading
from enum import StrEnum
from typing import Final, Self

#: Bytes passed on at once.
_CHUNK: Final = 65_536
#: Seconds between looks at the mode while nothing moves.
_LOOK_S: Final = 0.02


class Mode(StrEnum):
    """What happens to what is sent."""

    PASS = "pass"  # noqa: S105 - no password
    """It arrives."""
    SILENT = "silent"
    """It is taken and goes nowhere, in both directions; new connections, too."""
    DEAF = "deaf"
    """Requests arrive and are carried out, answers are lost."""


class TcpProxy:
    """Use as a context. `mode` may be set at any time, for all connections.

    Attributes:
        port: on 127.0.0.1.
        mode: see `Mode`.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.mode = Mode.PASS
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._wanted = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wanted = False
        self._thread.join()
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            for one in self._pairs:
                one.close()
            self._pairs.clear()
            self._clients.clear()

    def _run(self) -> None:
        while self._wanted:
            with self._lock:
                watched = [self._listener, *self._pairs]
                for one in select.select(watched, [], [], _LOOK_S)[0]:
                    if one is self._listener:
                        self._accept()
                    elif one in self._pairs:
                        self._pass_on(one)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._target_port))
        self._pairs |= {client: server, server: client}
        self._clients.add(client)

    def _pass_on(self, one: socket.socket) -> None:
        try:
            data = one.recv(_CHUNK)
        except OSError:
            data = b""
        other = self._pairs[one]
        if not data:
            for end in (one, other):
                del self._pairs[end]
                self._clients.discard(end)
                end.close()
            return
        is_request = one in self._clients
        if self.mode is Mode.PASS or (self.mode is Mode.DEAF and is_request):
            other.sendall(data)
