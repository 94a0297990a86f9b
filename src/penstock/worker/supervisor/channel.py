"""The supervisor's end of a channel to a runner or a child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

import msgspec

from penstock.worker.wire import FRAME_BYTES_MAX, FrameReader, frame

T = TypeVar("T")

_log = logging.getLogger("penstock.worker")

#: Bytes asked from the socket at once.
_READ_BYTES: Final = 65_536
#: Bytes waiting for a peer that does not read: two of the largest frames. Past it the peer is dead
#: or hostile, and the supervisor must not run out of memory for it.
_UNSENT_BYTES_MAX: Final = 2 * FRAME_BYTES_MAX


class Channel(Generic[T]):
    """Frames to and from one other process. Sending never waits.

    Attributes:
        broken: why the peer is not to be listened to any more; None: all is well.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kinds: object
    ) -> None:
        """Speak over an open stream; `kinds` is the union of the structs that may arrive."""
        self._reader = reader
        self._writer = writer
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kinds)
        self.broken: str | None = None

    @classmethod
    async def over(cls, end: socket.socket, kinds: object) -> Channel[T]:
        """Take over one end of a socket pair."""
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer, kinds)

    def send(self, message: msgspec.Struct) -> None:
        """Queue a message; once the peer is gone nothing happens, its exit is told elsewhere.

        Raises:
            ValueError: it is larger than a frame may be; nothing was sent.
        """
        body = frame(message)
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > _UNSENT_BYTES_MAX:
            self.broken = f"it left {_UNSENT_BYTES_MAX} bytes unread"
            self._writer.transport.abort()
            return
        self._writer.write(body)

    async def messages(self) -> AsyncIterator[T]:
        """Yield what arrives, until the peer closes its end or says something unreadable."""
        frames = FrameReader()
        while True:
            try:
                received = await self._reader.read(_READ_BYTES)
                bodies = frames.feed(received)
            except ConnectionError:
                # It died with something unread; how it died is told by its exit.
                return
            except ValueError as error:
                self.broken = str(error)
                return
            if not received:
                return
            for body in bodies:
                try:
                    message = self._decoder.decode(body)
                except (msgspec.DecodeError, RecursionError) as error:
                    self.broken = f"it sent a frame that cannot be read: {error}"
                    return
                yield message

    def close(self) -> None:
        """Close this end; the peer reads the end of the file."""
        self._writer.close()


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
