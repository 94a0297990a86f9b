"""One connection to a server in one event loop: questions go out in order, answers come back so.

It takes over a socket that redis-py has connected and greeted, and moves the bytes itself: one send
and one callback for a round trip, where asyncio's streams take several calls and wake-ups (ADR-0019
has the figures).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from contextlib import suppress
from typing import Any, Final, NamedTuple

from . import faults
from .wire import Replies, Word, packed, taken_over

#: Bytes of one read from the socket.
_READ_BYTES: Final = 262_144


class _Waiting(NamedTuple):
    """A question on its way.

    Attributes:
        answer: set once, or cancelled by who asked.
        writes: it may have written something where its answer is lost.
        end: bytes of everything up to and with this question.
        until: when its answer is late, by the loop's clock, unless something came since.
        is_urgent: no question before it may be waited for longer than this one.
    """

    answer: asyncio.Future[Any]
    writes: bool
    end: int
    until: float
    is_urgent: bool


class Line:
    """A connection. All methods but `hang_up` belong to the loop's thread.

    Args:
        sock: connected and greeted.
        where: the server, for messages.
        timeout_s: for each answer, and each part of one.

    Attributes:
        is_open: it can be asked.
        was_late: it broke because an answer did not come in time.
    """

    def __init__(self, sock: socket.socket, where: str, timeout_s: float) -> None:
        self._sock = taken_over(sock)
        self._where = where
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._replies = Replies()
        self._waiting: deque[_Waiting] = deque()
        self._unsent = bytearray()
        self._asked_bytes = self._sent_bytes = 0
        self._heard_at = self._loop.time()
        self._alarm: asyncio.TimerHandle | None = None
        self.is_open = True
        self.was_late = False
        self._sock.setblocking(False)  # noqa: FBT003 - its signature knows no name
        # By its number: a loop that held the socket could have it finalized before this line.
        self._fd = self._sock.fileno()
        self._loop.add_reader(self._fd, self._readable)

    def __del__(self) -> None:
        # A loop that has ended takes its callbacks with it; the descriptor is ours to close.
        self._sock.close()

    def ask(
        self,
        words: tuple[Word, ...],
        *,
        writes: bool,
        patience_s: float = 0.0,
        is_urgent: bool = False,
    ) -> asyncio.Future[Any]:
        """Send a command and return its answer to be awaited.

        Its first part may take `patience_s`, where that is more than the time-out of all. Answers
        come in order: where one before an urgent question does not come, the line breaks as soon
        as the urgent one is late.

        The answer raises `faults.Reply` where it is an error; Unavailable, where the line broke
        before the server can have run the command, or where it does not write; else
        OutcomeUnknown.
        """
        if not self.is_open:
            raise faults.not_reached(ConnectionResetError("the connection broke"), self._where)
        command = packed(words)
        answer = self._loop.create_future()
        self._asked_bytes += len(command)
        until = self._loop.time() + max(self._timeout_s, patience_s)
        self._waiting.append(_Waiting(answer, writes, self._asked_bytes, until, is_urgent))
        if self._alarm is not None and is_urgent and self._alarm.when() > until:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None:
            self._alarm = self._loop.call_at(until, self._look_at_clock)
        if self._unsent:
            self._unsent += command
        else:
            self._send(command)
        return answer

    def close(self) -> None:
        """Hang up. Whoever waits is told that the line broke."""
        self._break(ConnectionResetError("the connection was closed here"))

    def hang_up(self) -> None:
        """Do what `close` does, from any thread, and after the loop or in a forked process too."""
        if self.is_loop_over:
            self.is_open = False
            self._sock.close()
            return
        # Race: the loop may be closed just now, and takes the line with it.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.close)

    @property
    def is_loop_over(self) -> bool:
        """Whether nobody waits any more: the loop is closed, or that of the parent process."""
        return self._pid != os.getpid() or self._loop.is_closed()

    def _send(self, command: bytes) -> None:
        sent = self._sent(command)
        if self.is_open and sent < len(command):
            self._unsent += memoryview(command)[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        # From its front a bytearray is cut without moving the rest.
        del self._unsent[: self._sent(self._unsent)]
        if not self._unsent:
            self._loop.remove_writer(self._fd)

    def _sent(self, data: bytes | bytearray) -> int:
        """Send as much as the socket takes; return how many bytes."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._break(error)
            return 0
        self._sent_bytes += sent
        return sent

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        if not data:
            self._break(ConnectionResetError("the server closed the connection"))
            return
        self._heard_at = self._loop.time()
        try:
            replies = self._replies.feed(data)
        except ConnectionError as error:
            self._break(error)
            return
        for reply in replies:
            if not self._waiting:
                # It would be taken for the answer to the next question.
                self._break(ConnectionError("an answer came that nobody asked for"))
                return
            self._answered(reply)

    def _answered(self, reply: Any) -> None:
        answer = self._waiting.popleft().answer
        # Who asked may have been cancelled meanwhile.
        if answer.done():
            return
        if isinstance(reply, faults.Reply):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)

    def _look_at_clock(self) -> None:
        self._alarm = None
        if not self._waiting:
            return
        # A large answer comes in parts, and a loop that was held up reads them late: neither is a
        # server that does not answer.
        urgent = (one.until for one in self._waiting if one.is_urgent)
        first = min((self._waiting[0].until, *urgent))
        until = max(first, self._heard_at + self._timeout_s)
        if until <= self._loop.time():
            self.was_late = True
            self._break(TimeoutError(f"no answer within {self._timeout_s:g} s"))
        else:
            self._alarm = self._loop.call_at(until, self._look_at_clock)

    def _break(self, error: Exception) -> None:
        if not self.is_open:
            return
        self.is_open = False
        if self._alarm is not None:
            self._alarm.cancel()
        # In a forked process the selector is the parent's too: nothing may be unregistered there.
        if not self.is_loop_over:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
        self._sock.close()
        while self._waiting:
            one = self._waiting.popleft()
            if not one.answer.done():
                # What was not sent whole, the server cannot have run.
                is_lost = one.writes and one.end <= self._sent_bytes
                failed = faults.lost if is_lost else faults.not_reached
                one.answer.set_exception(failed(error, self._where))
