"""The way to one Redis server: connections, scripts, deadlines, and what an error means."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from redis import ConnectionPool
from redis import exceptions as e
from redis.backoff import NoBackoff
from redis.retry import Retry

from penstock.broker.urls import masked
from penstock.errors import BadSetting, WrongContext

from . import faults

if TYPE_CHECKING:
    from .verbs import Question

#: Seconds to reach the server, and for each answer: a producer learns within 1 s that it is gone.
CONNECT_TIMEOUT_S: Final = 0.3
ANSWER_TIMEOUT_S: Final = 0.5

Word = str | bytes | int
"""What a command is made of."""


class Wire(Protocol):
    """One connection of redis-py, whose own methods have no types."""

    _sock: Any

    def send_command(self, *words: Word) -> None:
        """Send one command."""
        ...

    def read_response(self, *, disconnect_on_error: bool = True) -> Any:
        """Return the answer to it. Any: the command decides."""
        ...

    def can_read(self, timeout: float = 0) -> bool:
        """Return whether an answer is there."""
        ...

    def disconnect(self) -> None:
        """Close it; the next command opens it again."""
        ...


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
    """

    def __init__(self, url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.where = masked(url)
        self.is_encrypted = url.startswith("rediss:")
        self.answer_timeout_s = answer_timeout_s
        self._is_closed = False
        # Half the wait for the answer: the server looks only ten times a second who waits too long.
        self._wait_ms = int(answer_timeout_s * 500)
        self._url = url
        self._pool = self._new_pool()
        self._pid = os.getpid()

    def _new_pool(self) -> ConnectionPool:
        try:
            return ConnectionPool.from_url(
                self._url,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=self.answer_timeout_s,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        except ValueError:
            # The text of that error may hold a part of the password.
            raise BadSetting(
                f"broker URL {self.where!r} is not allowed: write redis://USER:PASSWORD@HOST:PORT/DB,"
                " rediss://... or unix://PATH?db=DB, with special characters percent-encoded"
            ) from None

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
        connection = self.connection()
        try:
            try:
                words = ("EVALSHA", script.sha, 1, root, *question.words)
                answer = self._ask(connection, words, writes=writes)
            except e.NoScriptError:
                words = ("EVAL", script.text, 1, root, *question.words)
                answer = self._ask(connection, words, writes=writes)
            # A repeat that writes nothing waits too: for all that the server wrote before.
            wait = ("WAIT", 1, self._wait_ms)
            if question.is_copied and self._ask(connection, wait, writes=True) < 1:
                raise faults.not_replicated(self.where)
            return answer
        except faults.REPLIES as error:
            raise faults.refused(error, self.where) from error
        finally:
            self._pool.release(cast("Any", connection))

    def ask(self, *words: Word) -> Any:
        """Make one command that writes nothing, and return its answer."""
        connection = self.connection()
        try:
            return self._ask(connection, words, writes=False)
        except faults.REPLIES as error:
            raise faults.refused(error, self.where) from error
        finally:
            self._pool.release(cast("Any", connection))

    def connection(self) -> Wire:
        """Return a connection that nobody else uses; to be given back.

        Raises:
            Unavailable: the server cannot be reached.
            WrongContext: the broker was closed.
        """
        self.check_open()
        if self._pid != os.getpid():
            # Race: redis-py's pool takes a lock here that another thread of the parent may have
            # held when it forked, and nobody would ever give it back.
            self._pool = self._new_pool()
            self._pid = os.getpid()
        try:
            return cast("Wire", self._pool.get_connection())
        except faults.REPLIES as error:
            raise faults.refused(error, self.where) from error
        except (e.RedisError, OSError) as error:
            raise faults.not_reached(error, self.where) from error

    def connected_socket(self) -> socket.socket:
        """Return a connected and greeted socket, to be closed by the caller.

        Raises:
            Unavailable: the server cannot be reached.
            WrongContext: the broker was closed.
        """
        connection = self.connection()
        sock, connection._sock = connection._sock, None  # noqa: SLF001 - no other way
        self.give_back(connection)
        taken: socket.socket = sock
        return taken

    def check_open(self) -> None:
        """Refuse calls on a closed broker.

        Raises:
            WrongContext: it is closed.
        """
        if self._is_closed:
            raise WrongContext(f"the broker on {self.where} is closed: open a new one")

    def give_back(self, connection: Wire) -> None:
        """Take a connection back that somebody used for himself."""
        connection.disconnect()
        self._pool.release(cast("Any", connection))

    def close(self) -> None:
        """Close all connections. Later calls raise `WrongContext`."""
        self._is_closed = True
        if self._pid == os.getpid():
            self._pool.disconnect()

    def _ask(self, connection: Wire, words: Sequence[Word], *, writes: bool) -> Any:
        is_sent = False
        try:
            connection.send_command(*words)
            is_sent = True
            return connection.read_response()
        except faults.REPLIES:
            raise
        except (e.RedisError, OSError) as error:
            connection.disconnect()
            # What was not sent whole, the server cannot have run.
            failed = faults.lost if writes and is_sent else faults.not_reached
            raise failed(error, self.where) from error
        except BaseException:
            # An interrupt leaves an answer behind that nobody reads.
            connection.disconnect()
            raise
