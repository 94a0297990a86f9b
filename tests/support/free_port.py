"""Ports for the servers of tests."""

from __future__ import annotations

import contextlib
import random
import socket
from contextlib import closing
from typing import Final

#: Ports that the kernel gives to no connection on its own: those begin at 32,768 (ip(7)), and one
#: of the many that tests make could have the port before the server does.
_PORTS: Final = range(20_000, 32_768)


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on just now."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
