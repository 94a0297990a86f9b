"""Telling systemd how the worker is doing (sd_notify), where it asked for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

#: Microseconds in a second.
_US: Final = 1_000_000


class Notifier:
    """Sends states to the socket that systemd named; without one every call does nothing.

    Source: the protocol is a datagram of NAME=value lines, sd_notify(3).
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read NOTIFY_SOCKET and the watchdog's interval from the environment."""
        self._address = environ.get("NOTIFY_SOCKET", "")
        pid = environ.get("WATCHDOG_PID", str(os.getpid()))
        usec = environ.get("WATCHDOG_USEC", "0")
        is_asked = self._address and usec.isdecimal() and pid == str(os.getpid())
        #: Seconds between two keep-alives, half of what systemd allows; None: it does not watch.
        self.watchdog_s = int(usec) / _US / 2 if is_asked and int(usec) else None
        self._is_ready = asyncio.Event()

    def ready(self) -> None:
        """Tell that the worker takes jobs; the watchdog is fed from then on."""
        self.send(READY=1)
        self._is_ready.set()

    def send(self, **states: object) -> None:
        """Send states, such as READY=1."""
        if not self._address:
            return
        # An address in the abstract namespace is written with @ for its first byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(f"{name}={value}" for name, value in states.items())
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto(text.encode(), address)

    async def keep_alive(self, is_moving: Callable[[], bool]) -> None:
        """Feed the watchdog for as long as the worker's loops move, for ever.

        A process that lives but does nothing is restarted by systemd: it is not fed then.
        Source: reliability 4.11; celery#10205 and bullmq#4378 are workers that only looked alive.
        """
        # systemd does not watch a service before it is ready.
        await self._is_ready.wait()
        while self.watchdog_s is not None:
            await asyncio.sleep(self.watchdog_s)
            if is_moving():
                self.send(WATCHDOG=1)
