"""A network that fails on command: a proxy on 127.0.0.1 between a client and a server."""

from __future__ import annotations

import queue
import random
import select
import socket
import struct
import threading
from concurrent.futures import Future
from enum import StrEnum
from typing import Final, Self

#: Bytes passed on at once.
_CHUNK: Final = 65_536
#: Seconds between looks at the mode while nothing moves.
_LOOK_S: Final = 0.02
#: SO_LINGER: a closed connection is reset, and what it had under way is dropped.
_RESET: Final = struct.pack("ii", 1, 0)


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
        self._resets: queue.SimpleQueue[Future[bool]] = queue.SimpleQueue()
        self._draw = random.Random(1)
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

    def reset(self) -> bool:
        """Reset a connection, chosen at random among those over which something just came.

        Both ends are told, and what is under way is lost. Return False where nothing came in time.
        """
        done: Future[bool] = Future()
        self._resets.put(done)
        return done.result()

    def _run(self) -> None:
        while self._wanted:
            with self._lock:
                watched = [self._listener, *self._pairs]
                ready = select.select(watched, [], [], _LOOK_S)[0]
                if not self._resets.empty():
                    self._resets.get().set_result(self._reset_one_of(ready))
                for one in ready:
                    if one is self._listener:
                        self._accept()
                    elif one in self._pairs:
                        self._pass_on(one)

    def _reset_one_of(self, ready: list[socket.socket]) -> bool:
        live = [one for one in ready if one in self._pairs]
        if not live:
            return False
        one = self._draw.choice(live)
        for end in (one, self._pairs[one]):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._end(one)
        return True

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
        if not data:
            self._end(one)
            return
        is_request = one in self._clients
        if self.mode is Mode.PASS or (self.mode is Mode.DEAF and is_request):
            try:
                self._pairs[one].sendall(data)
            except OSError:
                # The other end is gone, as that of a killed process.
                self._end(one)

    def _end(self, one: socket.socket) -> None:
        for end in (one, self._pairs[one]):
            del self._pairs[end]
            self._clients.discard(end)
            end.close()
