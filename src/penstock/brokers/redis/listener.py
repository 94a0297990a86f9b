"""A place to be woken at: one channel, one connection, one descriptor that stays."""

from __future__ import annotations

import os
import random
import secrets
import select
import threading
import time
from collections.abc import Callable
from typing import Final

from penstock.errors import BrokerError, Unavailable, WrongContext

from . import faults
from .server import Server
from .wire import Wire

#: Seconds between two tries to subscribe again: short, since wake-ups are missed meanwhile.
_RETRY_MIN_S: Final = 0.1
_RETRY_MAX_S: Final = 1.0


class RedisListener:
    """Woken from any host through a channel of the server. Belongs to the process that opened it.

    Where the connection is lost, a thread subscribes again, for as long as it takes, and then wakes
    the sleeper once, since nobody knows what was missed. The descriptor is that of an epoll, which
    stays the same: event loops watch it from beginning to end.

    Args:
        server: where the channel is.
        root: root of all keys and channels.
        forget: told the token when it is given up.
    """

    def __init__(self, server: Server, root: str, forget: Callable[[str], None]) -> None:
        self.token = secrets.token_hex(16)
        self.breaks = 0
        self._server = server
        self._channel = f"{root}:wake:{self.token}"
        self._forget = forget
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._wire: Wire | None = None
        wire = self._subscribe()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._bell, select.EPOLLIN)
        self._watch(wire)

    def fileno(self) -> int:
        """Return the descriptor that turns readable, -1 once closed."""
        return -1 if self._closed.is_set() else self._epoll.fileno()

    def drain(self) -> bool:
        """Forget the wake-ups so far; return whether there was one. Never blocks for an answer.

        Raises:
            WrongContext: in a process forked from the owner, which would steal its wake-ups.
        """
        if self._pid != os.getpid():
            raise WrongContext("this listener belongs to the parent process: open one here")
        with self._lock:
            if self._closed.is_set():
                return False
            if self._wire is None:
                return self._take_bell()
            try:
                arrived = self._wire.arrived()
                # The bell is rung for a connection that came back: a message alone is the rule.
                return any(one[0] == b"message" for one in arrived) or self._take_bell()
            except OSError:
                self.breaks += 1
                self._unwatch()
                threading.Thread(target=self._return, name="penstock-listen", daemon=True).start()
            return self._take_bell()

    def wait(self, timeout_s: float) -> bool:
        """Block until woken or `timeout_s` passed; return whether woken. Forgets the wake-ups."""
        deadline = time.monotonic() + timeout_s
        while not self.drain():
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._closed.is_set():
                return False
            self._epoll.poll(left_s)
        return True

    def close(self) -> None:
        """Give the address up. In a forked process only this process's descriptors are closed."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._pid == os.getpid():
            with self._lock:
                self._unwatch()
        elif self._wire is not None:
            # The epoll itself is the parent's too: nothing may be unregistered here.
            self._wire.close()
        self._epoll.close()
        os.close(self._bell)
        if self._pid == os.getpid():
            self._forget(self.token)

    def _take_bell(self) -> bool:
        try:
            return os.eventfd_read(self._bell) > 0
        except BlockingIOError:
            return False

    def _subscribe(self) -> Wire:
        wire = Wire(self._server.connect())
        try:
            # What it drops is not missed: whoever returns wakes the sleeper anyway.
            wire.subscribe(self._channel)
        except (faults.Reply, OSError) as error:
            wire.close()
            where = self._server.where
            raise Unavailable(f"{where}: no channel to be woken at: {error}") from error
        return wire

    def _return(self) -> None:
        """Subscribe again as soon as the server answers, then wake the sleeper."""
        longest_s = _RETRY_MIN_S
        while not self._closed.is_set():
            try:
                wire = self._subscribe()
            except WrongContext:
                return
            except BrokerError:
                self._closed.wait(random.uniform(_RETRY_MIN_S, longest_s))
                longest_s = min(2 * longest_s, _RETRY_MAX_S)
                continue
            with self._lock:
                if self._closed.is_set():
                    wire.close()
                    return
                self._watch(wire)
                self.breaks += 1
                os.eventfd_write(self._bell, 1)
            return

    def _watch(self, wire: Wire) -> None:
        wire.sock.setblocking(False)  # noqa: FBT003 - its signature knows no name
        self._epoll.register(wire.sock, select.EPOLLIN)
        self._wire = wire

    def _unwatch(self) -> None:
        if self._wire is not None:
            # What is closed cannot be taken out of an epoll again: with a copy of the socket in a
            # forked child it would be readable for ever.
            self._epoll.unregister(self._wire.sock)
            self._wire.close()
            self._wire = None
