"""One blocking connection to a server: a command goes out, its answer comes back.

It takes over a socket that redis-py has connected and greeted. redis-py's own call on a pooled
connection costs about 25 us beside the round trip, a fifth of an enqueue (ADR-0019).
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import Any, Final, cast

import hiredis

from . import faults

Word = str | bytes | int
"""What a command is made of."""

#: Bytes of one read from the socket.
_READ_BYTES: Final = 65_536
#: What the parser returns where an answer is not there yet.
_NOT_YET: Final = object()


def packed(words: tuple[Word, ...]) -> bytes:
    """Return a command as it goes over the wire."""
    # Its stub knows commands of one word only.
    command: bytes = hiredis.pack_command(cast("Any", words))
    return command


def taken_over(sock: socket.socket) -> socket.socket:
    """Return a socket as a new object, to be kept by an object that exists already.

    The collector finalizes what is older first: a keeper that closes its socket must be older than
    it, or a program that closes nothing at its end is warned of an unclosed socket.
    """
    if type(sock) is not socket.socket:
        return sock
    timeout_s = sock.gettimeout()
    taken = socket.socket(fileno=sock.detach())
    taken.settimeout(timeout_s)
    return taken


class Replies:
    """What comes back over one connection, cut into replies."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._reader = hiredis.Reader(replyError=faults.Reply, notEnoughData=_NOT_YET)

    def feed(self, data: bytes) -> list[Any]:
        """Return the replies that are whole now. Any: the command decides; errors are `Reply`.

        Raises:
            ConnectionError: what came is no reply.
        """
        found: list[Any] = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOT_YET:
                found.append(reply)
        except hiredis.ProtocolError as error:
            raise ConnectionError(f"what came is no reply: {error}") from error
        return found


class Wire:
    """A connection. Belongs to one thread at a time.

    Args:
        sock: connected and greeted, with the time-out that each answer has.

    Attributes:
        sock: see above.
    """

    __slots__ = ("_replies", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = taken_over(sock)
        self._replies = Replies()

    def __del__(self) -> None:
        self.sock.close()

    def is_usable(self) -> bool:
        """Return whether the server still holds its end; one that was idle may have been closed.

        Whatever can be read before a command was sent is an end, or the answer to a call that was
        given up.
        """
        # Not select(2), which knows no descriptor over 1,023.
        look = select.poll()
        look.register(self.sock, select.POLLIN)
        return not look.poll(0)

    def send(self, *words: Word) -> None:
        """Send a command.

        Raises:
            OSError: not all of it was sent.
        """
        self.sock.sendall(packed(words))

    def receive(self) -> Any:
        """Return the answer to the command. Any: the command decides.

        Raises:
            Reply: it is an error.
            OSError: none came within the time-out, or the connection broke.
        """
        reply, *more = self._some()
        if more:
            raise ConnectionError("more came than was asked for")
        if isinstance(reply, faults.Reply):
            raise reply
        return reply

    def subscribe(self, channel: str) -> None:
        """Listen to a channel. Messages that come together with the answer are dropped.

        Raises:
            Reply: the server refuses.
            OSError: no answer came within the time-out, or the connection broke.
        """
        self.send("SUBSCRIBE", channel)
        reply = self._some()[0]
        if isinstance(reply, faults.Reply):
            raise reply

    def _some(self) -> list[Any]:
        """Wait for replies; return those that came together."""
        replies: list[Any] = []
        while not replies:
            data = self.sock.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            replies = self._replies.feed(data)
        return replies

    def arrived(self) -> list[Any]:
        """Return the replies that are there; for a socket that does not block.

        Raises:
            OSError: the connection broke.
        """
        found: list[Any] = []
        while True:
            try:
                data = self.sock.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return found
            if not data:
                raise ConnectionResetError("the server closed the connection")
            found += self._replies.feed(data)
            if len(data) < _READ_BYTES and type(self.sock) is socket.socket:
                return found

    def close(self) -> None:
        """Close it."""
        self.sock.close()
