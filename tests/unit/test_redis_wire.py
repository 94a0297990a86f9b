"""A blocking connection and a peer that says what the test wants, over a socket pair."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from penstock.brokers.redis import faults
from penstock.brokers.redis.wire import Wire


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    wire = Wire(ours)
    with theirs:
        yield wire, theirs
    wire.close()


def test_an_answer_is_put_together(pair: tuple[Wire, socket.socket]) -> None:
    """It comes in parts, and an error is raised as what the server said."""
    wire, peer = pair
    large = b"x" * 1_000_000
    sending = threading.Thread(target=peer.sendall, args=(b"$1000000\r\n%b\r\n" % large,))
    sending.start()
    assert wire.receive() == large
    sending.join()
    peer.sendall(b"-ERR no\r\n")
    with pytest.raises(faults.Reply, match="ERR no"):
        wire.receive()


def test_an_answer_that_nobody_asked_for_is_an_error(pair: tuple[Wire, socket.socket]) -> None:
    """It would be taken for the answer to the next call."""
    wire, peer = pair
    peer.sendall(b"+one\r\n+two\r\n")
    with pytest.raises(ConnectionError, match="more came than was asked for"):
        wire.receive()


def test_an_idle_connection_that_speaks_is_not_usable(pair: tuple[Wire, socket.socket]) -> None:
    """Nor is one whose peer has hung up."""
    wire, peer = pair
    assert wire.is_usable()
    peer.sendall(b"+late\r\n")
    assert not wire.is_usable()


def test_messages_may_come_together_with_the_subscription(
    pair: tuple[Wire, socket.socket],
) -> None:
    """Later ones are there to be looked at."""
    wire, peer = pair
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n"
    peer.sendall(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n" + message)
    wire.subscribe("c")
    wire.sock.settimeout(0)
    assert wire.arrived() == []
    peer.sendall(message)
    assert wire.arrived() == [[b"message", b"c", b""]]


@pytest.mark.parametrize("said", [b"", b"what?\r\n"])
def test_an_end_and_garbage_are_errors_of_the_connection(
    pair: tuple[Wire, socket.socket], said: bytes
) -> None:
    """Whoever looks is told, and no garbage is taken for an answer."""
    wire, peer = pair
    peer.sendall(said)
    peer.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match=r"closed the connection|no reply"):
        wire.receive()
