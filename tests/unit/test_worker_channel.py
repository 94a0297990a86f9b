"""The supervisor's end of a channel: what is taken in at once, what waits, and what breaks it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from penstock.core.ids import JobId
from penstock.core.outcome import Succeeded
from penstock.worker import wire
from penstock.worker.supervisor.channel import Channel

SOON_S = 30.0


def _finished(number: int) -> wire.Finished:
    return wire.Finished(JobId(f"{number:032x}"), Succeeded(None))


def _noted(number: int) -> wire.Noted:
    return wire.Noted(JobId(f"{number:032x}"), log=("x" * 1_000,))


def test_messages_are_taken_in_at_once_only_where_none_waits() -> None:
    """A message never overtakes another one, and is offered only while somebody listens."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        channel: Channel[wire.FromChild] = await Channel.over(ours, wire.FromChild)
        heard: list[str] = []
        all_heard, may_go_on = asyncio.Event(), asyncio.Event()

        def at_once(message: wire.FromChild) -> bool:
            if isinstance(message, wire.Finished):
                heard.append(f"at once {int(message.id, 16)}")
                all_heard.set()
                return True
            return False

        async def listen() -> None:
            async for message in channel.messages():
                await may_go_on.wait()
                assert isinstance(message, wire.Finished | wire.Noted)
                heard.append(f"in turn {int(message.id, 16)}")

        channel.take_at_once = at_once
        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        theirs.sendall(wire.frame(_finished(1)))
        async with asyncio.timeout(SOON_S):
            await all_heard.wait()
        assert heard == ["at once 1"]
        theirs.sendall(b"".join(map(wire.frame, (_noted(2), _finished(3)))))
        theirs.close()
        may_go_on.set()
        async with asyncio.timeout(SOON_S):
            await listening
        assert heard == ["at once 1", "in turn 2", "in turn 3"]
        assert channel.broken is None
        channel.close()

    asyncio.run(main())


def test_a_peer_that_says_a_lot_waits_until_it_is_heard() -> None:
    """Nothing more is read while messages wait; all come in the end, in order."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        channel: Channel[wire.FromChild] = await Channel.over(ours, wire.FromChild)
        count = 2_000
        said = b"".join(wire.frame(_noted(number)) for number in range(count))
        saying = asyncio.create_task(asyncio.to_thread(theirs.sendall, said))
        messages = channel.messages()
        heard: list[wire.FromChild] = []
        async with asyncio.timeout(SOON_S):
            first = await anext(messages)
            assert isinstance(first, wire.Noted)
            # The socket's buffer and one reading take some hundred of them, and no more.
            await asyncio.wait([saying], timeout=0.1)
            assert not saying.done(), "everything was read although nobody listened"
            while len(heard) < count - 1:
                heard.append(await anext(messages))
            await saying
        assert heard == [_noted(number) for number in range(1, count)]
        theirs.close()
        channel.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "why"),
    [(b"\0\0\0\2{}", "cannot be read"), (b"\xff\xff\xff\xff", "FRAME_BYTES_MAX")],
)
def test_what_cannot_be_read_breaks_the_channel(said: bytes, why: str) -> None:
    """Messages end there, and `broken` says why."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        channel: Channel[wire.FromChild] = await Channel.over(ours, wire.FromChild)
        messages = channel.messages()
        async with asyncio.timeout(SOON_S):
            theirs.sendall(wire.frame(_noted(1)))
            assert await anext(messages) == _noted(1)
            theirs.sendall(said)
            assert [message async for message in messages] == []
        assert channel.broken is not None
        assert why in channel.broken
        theirs.close()
        channel.close()

    asyncio.run(main())
