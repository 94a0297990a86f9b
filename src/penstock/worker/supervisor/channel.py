"""The supervisor's end of a channel to a runner or a child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

import msgspec

from penstock.worker.wire import FRAME_BYTES_MAX, FrameReader, frame

T = TypeVar("T")

_log = logging.getLogger("penstock.worker")

#: Bytes waiting for a peer that does not read: two of the largest frames. Past it the peer is dead
#: or hostile, and the supervisor must not run out of memory for it.
_UNSENT_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX
#: Messages read and not taken in yet, past which nothing more is read: a peer that says a lot while
#: the broker is slow waits, as it would for a full socket.
_UNHEARD_MAX: Final = 64


class Channel(asyncio.Protocol, Generic[T]):
    """Frames to and from one other process. Sending never waits.

    Attributes:
        broken: why the peer is not to be listened to any more; None: all is well.
        take_at_once: offered each message that `messages` could yield at once; returns whether it
            took it in. It spares the most frequent one a task's turn.
    """

    def __init__(self, kinds: object) -> None:
        """Take in the structs of the union `kinds`. Use `over`."""
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kinds)
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._unheard: deque[T] = deque()
        self._is_over = False
        self._news: asyncio.Future[None] | None = None
        self.broken: str | None = None
        self.take_at_once: Callable[[T], bool] = _take_nothing

    @classmethod
    async def over(cls, end: socket.socket, kinds: object) -> Channel[T]:
        """Take over one end of a socket pair."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(kinds), sock=end)
        return channel

    def send(self, message: msgspec.Struct) -> None:
        """Queue a message; once the peer is gone nothing happens, its exit is told elsewhere.

        Raises:
            ValueError: it is larger than a frame may be; nothing was sent.
        """
        body = frame(message)
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > _UNSENT_BYTES_MAX:
            self.broken = f"it left {_UNSENT_BYTES_MAX} bytes unread"
            transport.abort()
            return
        transport.write(body)

    async def messages(self) -> AsyncIterator[T]:
        """Yield what arrives, until the peer closes its end or says something unreadable."""
        loop = asyncio.get_running_loop()
        while True:
            while self._unheard:
                yield self._unheard.popleft()
            if self._is_over:
                return
            if self._transport is not None:
                self._transport.resume_reading()
            self._news = loop.create_future()
            try:
                await self._news
            finally:
                self._news = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - that of a stream socket
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Cut what was received into messages."""
        if self._is_over:
            return
        try:
            for body in self._frames.feed(data):
                self._take_in(self._decoder.decode(body))
        except (msgspec.DecodeError, RecursionError) as error:
            self._end(f"it sent a frame that cannot be read: {error}")
        except ValueError as error:
            self._end(str(error))
        if len(self._unheard) > _UNHEARD_MAX and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Let `messages` end; what is still to be sent may be."""
        self._end(None)
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        """Let `messages` end: how the peer died is told by its exit."""
        self._end(None)

    def _take_in(self, message: T) -> None:
        is_idle = self._news is not None and not self._news.done()
        if not (is_idle and self.take_at_once(message)):
            self._unheard.append(message)
            self._tell_news()

    def _end(self, broken: str | None) -> None:
        self.broken = self.broken or broken
        self._is_over = True
        self._tell_news()

    def _tell_news(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def close(self) -> None:
        """Close this end; the peer reads the end of the file."""
        if self._transport is not None:
            self._transport.close()


def _take_nothing(_message: object) -> bool:
    """Let every message wait for its turn."""
    return False


async def open_lines(kinds: object, name: str) -> tuple[Channel[T], socket.socket, int]:
    """Open what a new process is given: a channel, and a file in memory for its stacks.

    Args:
        kinds: union of the structs that may arrive.
        name: of the file, for people who look at /proc.

    Returns:
        The channel, the end of it that the process inherits, and the file.

    Raises:
        OSError: the system refused (too many descriptors); nothing is left open.
    """
    with contextlib.ExitStack() as opened:
        ours, theirs = socket.socketpair()
        opened.callback(ours.close)
        opened.callback(theirs.close)
        stack_fd = os.memfd_create(name)
        opened.callback(os.close, stack_fd)
        channel: Channel[T] = await Channel.over(ours, kinds)
        opened.pop_all()
    return channel, theirs, stack_fd


def kill_if_deaf(listening: asyncio.Task[None], who: str, kill: Callable[[], None]) -> None:
    """Kill a process once the task that listens to it fails: its jobs would be held for ever."""

    def stopped(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("%s is killed: nobody hears it any more", who, exc_info=error)
            kill()

    listening.add_done_callback(stopped)
