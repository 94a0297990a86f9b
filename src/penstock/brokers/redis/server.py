"""The way to one Redis server: connections, scripts, deadlines, and what an error means."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, Any, Final

from redis import ConnectionPool
from redis import exceptions as e
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.broker.urls import masked
from penstock.errors import BadSetting, WrongContext

from . import faults
from .wire import Wire, Word

if TYPE_CHECKING:
    from .verbs import Question

#: Seconds to reach the server, and for each answer: a producer learns within 1 s that it is gone.
CONNECT_TIMEOUT_S: Final = 0.3
ANSWER_TIMEOUT_S: Final = 0.5
#: A URL whose path is a number or nothing, or the path of a socket.
_PATH: Final = re.compile(r"unix://.*|rediss?://[^/?]*(?:/[0-9]*)?(?:\?.*)?")


class Server:
    """Runs scripts and commands on one server. Safe to call from many threads; survives a fork.

    Connections are opened as threads need them and kept; one that failed is thrown away, because
    the answer to a lost call would be taken for that of the next (CVE-2023-28858).

    Args:
        url: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        answer_timeout_s: for each answer.

    Attributes:
        where: the URL without its password.
        is_encrypted: connections use TLS.
        answer_timeout_s: for each answer.
        is_closed: calls are refused.
    """

    def __init__(self, url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.where = masked(url)
        self.is_encrypted = url.startswith("rediss:")
        self.answer_timeout_s = answer_timeout_s
        self.is_closed = False
        # Half the wait for the answer: the server looks only ten times a second who waits too long.
        self._wait_ms = int(answer_timeout_s * 500)
        self._greeter = self._new_greeter(url)
        self._idle: list[Wire] = []
        self._pid = os.getpid()

    def _new_greeter(self, url: str) -> ConnectionPool:
        """Return what reads the URL and knows how to connect and greet: a pool that stays empty."""
        try:
            greeter = ConnectionPool.from_url(
                url,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=self.answer_timeout_s,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
            # A parameter that it does not know is found by a connection alone.
            greeter.connection_class(**greeter.connection_kwargs)
        except (ValueError, TypeError):
            # The text of that error may hold a part of the password.
            raise self._not_allowed() from None
        if not _PATH.fullmatch(url):
            # redis-py takes what is no number for 0.
            raise self._not_allowed()
        return greeter

    def _not_allowed(self) -> BadSetting:
        return BadSetting(
            f"broker URL {self.where!r} is not allowed: write redis://USER:PASSWORD@HOST:PORT/DB, "
            "rediss://... or unix://PATH?db=DB, DB a number, with special characters "
            "percent-encoded, and behind a `?` only parameters that redis-py knows"
        )

    def run(self, root: str, question: Question[Any]) -> Any:
        """Run a script and return its answer as it comes. Any: the script decides.

        Args:
            root: root of its keys.
            question: what to run, with what.

        Raises:
            Unavailable: nothing was written.
            QueueFull: the same, for want of memory.
            OutcomeUnknown: it was sent and not answered, only where it `writes`; or it was written
                and no replica told in time that it has it.
        """
        script, writes = question.script, question.writes
        wire = self._take()
        try:
            try:
                words = ("EVALSHA", script.sha, 1, root, *question.words)
                answer = self._ask(wire, words, writes=writes)
            except faults.Reply as reply:
                if not reply.is_no_script:
                    raise
                words = ("EVAL", script.text, 1, root, *question.words)
                answer = self._ask(wire, words, writes=writes)
            # A repeat that writes nothing waits too: for all that the server wrote before.
            wait = ("WAIT", 1, self._wait_ms)
            if question.is_copied and self._ask(wire, wait, writes=True) < 1:
                self._give_back(wire)
                raise faults.not_replicated(self.where)
        except faults.Reply as reply:
            self._give_back(wire)
            raise faults.refused(reply, self.where, writes=writes) from reply
        self._give_back(wire)
        return answer

    def ask(self, *words: Word) -> Any:
        """Make one command that writes nothing, and return its answer."""
        wire = self._take()
        try:
            answer = self._ask(wire, words, writes=False)
        except faults.Reply as reply:
            self._give_back(wire)
            raise faults.refused(reply, self.where) from reply
        self._give_back(wire)
        return answer

    def connect(self) -> socket.socket:
        """Return a connected and greeted socket, to be closed by the caller.

        Raises:
            Unavailable: the server cannot be reached.
            WrongContext: the broker was closed.
        """
        self.check_open()
        try:
            # Not one of the pool's own: it counts those that it makes, and we keep their sockets.
            greeter = self._greeter
            connection: Any = greeter.connection_class(**greeter.connection_kwargs)
            connection.connect()
        except faults.REPLIES as error:
            raise faults.refused(error, self.where) from error
        except (e.RedisError, OSError) as error:
            raise faults.not_reached(error, self.where) from error
        sock: socket.socket = connection._sock  # noqa: SLF001 - no other way
        connection._sock = None  # noqa: SLF001 - else it is closed with the connection
        return sock

    def dial(self) -> Wire:
        """Return a new connection, as `connect` does, that is closed when nobody keeps it."""
        return Wire(self.connect())

    def check_open(self) -> None:
        """Refuse calls on a closed broker.

        Raises:
            WrongContext: it is closed.
        """
        if self.is_closed:
            raise WrongContext(f"the broker on {self.where} is closed: open a new one")

    def close(self) -> None:
        """Close all connections. Later calls raise `WrongContext`."""
        self.is_closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Wire:
        """Return a connection that nobody else uses."""
        self.check_open()
        if self._pid != os.getpid():
            # These are the parent's; closing them here leaves its own ends alone.
            self._idle = []
            self._pid = os.getpid()
        while self._idle:
            # Race: another thread may have taken the last one meanwhile.
            try:
                wire = self._idle.pop()
            except IndexError:
                break
            if wire.is_usable():
                return wire
            wire.close()
        return self.dial()

    def _give_back(self, wire: Wire) -> None:
        if self.is_closed:
            wire.close()
        else:
            self._idle.append(wire)

    def _ask(self, wire: Wire, words: tuple[Word, ...], *, writes: bool) -> Any:
        is_sent = False
        try:
            wire.send(*words)
            is_sent = True
            return wire.receive()
        except faults.Reply:
            raise
        except OSError as error:
            wire.close()
            # What was not sent whole, the server cannot have run.
            failed = faults.lost if writes and is_sent else faults.not_reached
            raise failed(error, self.where) from error
        except BaseException:
            # An interrupt leaves an answer behind that nobody reads.
            wire.close()
            raise
