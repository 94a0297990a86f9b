"""A way to a server that can swallow what it is given, in one direction or both."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress


class BlackHole:
    """A TCP proxy on the loopback; connections are accepted whatever happens behind it.

    Attributes:
        port: where it listens.
        swallows_calls: nothing that clients send goes on.
        swallows_replies: nothing that the server answers comes back.
    """

    def __init__(self, to_port: int) -> None:
        self.swallows_calls = False
        self.swallows_replies = False
        self._to_port = to_port
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """URL of database 0 behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def swallow(self, *, calls: bool = False, replies: bool = False) -> None:
        """Swallow these from now on, on connections that are there and on new ones."""
        self.swallows_calls, self.swallows_replies = calls, replies

    def close(self) -> None:
        """End all connections and all threads."""
        for one in (self._listening, *self._sockets):
            _shut(one)
        for thread in self._threads:
            thread.join()
        for one in (self._listening, *self._sockets):
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._to_port))
                self._sockets += (client, server)
                self._carry(client, server, lambda: self.swallows_calls)
                self._carry(server, client, lambda: self.swallows_replies)

    def _carry(
        self, source: socket.socket, sink: socket.socket, swallows: Callable[[], bool]
    ) -> None:
        def carry() -> None:
            with suppress(OSError):
                while data := source.recv(65_536):
                    if not swallows():
                        sink.sendall(data)
            _shut(source)
            _shut(sink)

        self._threads.append(threading.Thread(target=carry))
        self._threads[-1].start()


@contextmanager
def black_hole(to_port: int) -> Iterator[BlackHole]:
    """Have a proxy for as long as the block lasts."""
    with closing(BlackHole(to_port)) as hole:
        yield hole


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
