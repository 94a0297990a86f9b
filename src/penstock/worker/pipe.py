"""The user-code side's end of a channel: runners and children speak through it.

Unlike the supervisor's end it can be written from any thread: a beat must get out while the event
loop is blocked by user code.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from penstock.worker.framing import FrameReader, frame

T = TypeVar("T")

#: Bytes asked from the socket at once.
_READ_BYTES: Final = 65_536
#: Unsent bytes past which optional messages (beats) are dropped: the supervisor does not read.
_BACKLOG_BYTES: Final = 1_048_576


class Pipe(Generic[T]):
    """Frames to and from the supervisor.

    Args:
        descriptor: of the socket; programs that user code starts do not inherit it.
        kinds: union of the structs that may arrive.
        on_end: called once when the supervisor is gone, from any thread; does not return.
    """

    def __init__(self, descriptor: int, kinds: object, on_end: Callable[[], None]) -> None:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - its signature knows no name
        self._socket = socket.socket(fileno=descriptor)
        self._inode = os.fstat(descriptor).st_ino
        self._socket.setblocking(False)  # noqa: FBT003 - the same
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kinds)
        self._frames = FrameReader()
        self._on_end = on_end
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take_in: Callable[[T], Any] | None = None

    def send(self, *messages: msgspec.Struct, optional: bool = False) -> None:
        """Send messages, in order. Never waits: what the socket cannot take goes out later.

        Args:
            *messages: nothing happens where there are none.
            optional: dropped if much is unsent already.

        Raises:
            ValueError: one is larger than a frame may be; nothing was sent.
        """
        body = b"".join(frame(message) for message in messages)
        with self._lock:
            if optional and len(self._unsent) > _BACKLOG_BYTES:
                return
            self._unsent += body
            is_done = self._write()
        if not is_done and self._loop is not None:
            self._loop.call_soon_threadsafe(self._write_later)

    def flush(self) -> None:
        """Wait until everything is sent: the last word before the process ends."""
        with self._lock:
            self._socket.setblocking(True)  # noqa: FBT003 - its signature knows no name
            while self._unsent:
                self._write()

    def listen(self, take_in: Callable[[T], Any]) -> None:
        """Call `take_in` with each message, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._take_in = take_in
        self._loop.add_reader(self._socket.fileno(), self._read)

    def check(self) -> None:
        """End as if the supervisor were gone, if user code has closed the channel under us.

        The kernel tells nobody: a loop that waits for a closed descriptor waits for ever.
        """
        try:
            is_ours = os.fstat(self._socket.fileno()).st_ino == self._inode
        except OSError:
            is_ours = False
        if not is_ours:
            self._on_end()

    def close(self) -> None:
        """Close this end."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def read_on(self) -> None:
        """Wait for the next bytes and pass on what they complete; blocks the loop's thread.

        For a plain call inside a coroutine that cannot go on without its answer.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.poll()
        self._read()

    def _read(self) -> None:
        try:
            received = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._on_end()
            return
        for body in self._frames.feed(received):
            message = self._decoder.decode(body)
            if self._take_in is not None:
                self._take_in(message)

    def _write(self) -> bool:
        """Send what the socket takes; return whether nothing is left. Needs the lock."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return False
            except OSError:
                self._unsent.clear()
                self._on_end()
                return True
            del self._unsent[:sent]
        return True

    def _write_later(self) -> None:
        if self._loop is not None:
            self._loop.add_writer(self._socket.fileno(), self._write_on)

    def _write_on(self) -> None:
        with self._lock:
            is_done = self._write()
        if is_done and self._loop is not None:
            self._loop.remove_writer(self._socket.fileno())
