"""A connection of an event loop, and a peer that says what the test wants, over a socket pair."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from penstock.brokers.redis import faults
from penstock.brokers.redis.line import Line
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support.service_bench import until

#: Seconds: longer than any test.
LONG_S = 60.0
PING = b"*1\r\n$4\r\nPING\r\n"


def over_a_pair(test: Callable[[Line, socket.socket], Awaitable[None]]) -> None:
    """Run a test in a loop, with a line and the other end of its socket."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            line = Line(ours, "redis://here", LONG_S)
            await asyncio.wait_for(test(line, theirs), LONG_S)
            line.close()

    asyncio.run(main())


def test_answers_come_in_whatever_parts() -> None:
    """Cut anywhere, or all at once, each answer goes to its question, errors too."""

    async def test(line: Line, peer: socket.socket) -> None:
        said = b"+one\r\n$3\r\ntwo\r\n-NOSCRIPT none\r\n*2\r\n:3\r\n$-1\r\n"
        for size in (1, 2, 7, len(said)):
            answers = [line.ask(("PING",), writes=False) for _ in range(4)]
            for at in range(0, len(said), size):
                peer.sendall(said[at : at + size])
                await asyncio.sleep(0)
            found = await asyncio.gather(*answers, return_exceptions=True)
            assert (found[0], found[1], found[3]) == (b"one", b"two", [3, None])
            assert isinstance(found[2], faults.Reply)
            assert found[2].is_no_script

    over_a_pair(test)


@pytest.mark.parametrize("said", [b"what?\r\n", b"$x\r\n"])
def test_what_is_no_reply_ends_the_connection(said: bytes) -> None:
    """Nobody takes it for an answer: each caller is told what is known of its call."""

    async def test(line: Line, peer: socket.socket) -> None:
        read, write = (line.ask(("PING",), writes=writes) for writes in (False, True))
        peer.sendall(said)
        with pytest.raises(Unavailable, match="no reply"):
            await read
        with pytest.raises(OutcomeUnknown, match="no reply"):
            await write
        with pytest.raises(Unavailable):
            await line.ask(("PING",), writes=False)

    over_a_pair(test)


@pytest.mark.parametrize("asked", [0, 1])
def test_an_answer_that_nobody_asked_for_ends_the_connection(asked: int) -> None:
    """It would be taken for the answer to the next question, and so on for ever."""

    async def test(line: Line, peer: socket.socket) -> None:
        answers = [line.ask(("PING",), writes=False) for _ in range(asked)]
        peer.sendall(b"+PONG\r\n" * (asked + 1))
        assert [await answer for answer in answers] == [b"PONG"] * asked
        await until(lambda: not line.is_open)
        with pytest.raises(Unavailable):
            await line.ask(("PING",), writes=False)

    over_a_pair(test)


def test_what_the_socket_does_not_take_is_sent_later() -> None:
    """A peer that does not read gets every byte in order once it reads, and asked for only once."""

    async def test(line: Line, peer: socket.socket) -> None:
        large = b"x" * 3_000_000
        answers = [line.ask(("SET", large), writes=True), line.ask(("PING",), writes=False)]
        expected = b"*2\r\n$3\r\nSET\r\n$%d\r\n%b\r\n" % (len(large), large) + PING
        heard = b""
        while len(heard) < len(expected):
            heard += await asyncio.to_thread(peer.recv, 200_000)
        assert heard == expected
        peer.sendall(b"+OK\r\n+PONG\r\n")
        assert [await answer for answer in answers] == [b"OK", b"PONG"]

    over_a_pair(test)


def test_a_peer_that_hangs_up_tells_what_was_sent() -> None:
    """Of what was sent whole a write is unknown; of what was not, nothing can have happened."""

    async def test(line: Line, peer: socket.socket) -> None:
        small = line.ask(("SET",), writes=True)
        large = line.ask(("SET", b"x" * 3_000_000), writes=True)
        read = line.ask(("PING",), writes=False)
        peer.shutdown(socket.SHUT_RDWR)
        told = await asyncio.gather(small, large, read, return_exceptions=True)
        assert [type(error) for error in told] == [OutcomeUnknown, Unavailable, Unavailable]
        assert not line.is_open

    over_a_pair(test)


def test_an_urgent_question_caps_the_patience_of_the_one_before_it() -> None:
    """A mute answer that may take long holds up an extension no longer than its own time-out."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            line = Line(ours, "redis://here", 0.2)
            claim = line.ask(("CLAIM",), writes=True, patience_s=LONG_S)
            extend = line.ask(("EXTEND",), writes=True, is_urgent=True)
            found = await asyncio.wait_for(
                asyncio.gather(claim, extend, return_exceptions=True), LONG_S / 4
            )
            assert [type(one) for one in found] == [OutcomeUnknown] * 2
            assert line.was_late
            assert not line.is_open

    asyncio.run(main())
