"""The supervisor's end of a channel to a runner or a child."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Final, Generic, TypeVar

import msgspec

from .wire import FRAME_BYTES_MAX, FrameReader, frame

T = TypeVar("T")

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

    @classmethod
    async def pair(cls, kinds: object) -> tuple[Channel[T], socket.socket]:
        """Open a new channel; return it and the end that the other process inherits.

        Raises:
            OSError: the system refused (too many descriptors); nothing is left open.
        """
        ours, theirs = socket.socketpair()
        try:
            return await cls.over(ours, kinds), theirs
        except BaseException:
            ours.close()
            theirs.close()
            raise

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
