"""An async broker whose calls a test holds up, refuses, or robs of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from penstock.broker.protocol import AsyncBroker, Listener
from penstock.broker.requests import ClaimAnswer, ClaimRequest
from penstock.core.job import SHARED, Claimed
from penstock.core.settlement import Settlement


class SteeredCall:
    """One call of a verb.

    Attributes:
        number: 1, 2, ... over all verbs.
        verb: its name.
        words: its arguments.
        answer: what the broker said, None before.
        go_on: set by the test where the call is held up.
        error: raised instead of the answer, where the test sets one.
        is_under_way: its caller still waits.
    """

    def __init__(self, number: int, verb: str, words: tuple[Any, ...]) -> None:
        self.number = number
        self.verb = verb
        self.words = words
        self.answer: Any = None
        self.go_on = asyncio.Event()
        self.error: Exception | None = None
        self.is_under_way = True

    @property
    def request(self) -> ClaimRequest | None:
        """What it claims for coroutines; None: it claims nothing, or for threads."""
        found = self.words[-1] if self.verb in ("claim", "cycle") else None
        return found if found is not None and found.offers[0].needs == (SHARED,) else None

    @property
    def settlements(self) -> list[Settlement]:
        """What it settles."""
        return list(self.words[0]) if self.verb in ("settle", "cycle") else []

    @property
    def jobs(self) -> list[Claimed]:
        """What it has claimed."""
        answer: ClaimAnswer = self.answer[1] if self.verb == "cycle" else self.answer
        return list(answer.jobs)


Hook = Callable[[SteeredCall], Awaitable[None]]
"""Awaited before or after a call; raises what the caller shall be told instead of its answer."""


async def _go_on(_call: SteeredCall) -> None:
    return


class SteeredBroker:
    """`broker`, with hooks around each call but `listen`.

    Attributes:
        calls: so far, oldest first.
        before: awaited before a call is made.
        after: awaited before its answer is given.
    """

    rounds_at_once: Final = 2

    def __init__(self, broker: AsyncBroker, *, before: Hook = _go_on, after: Hook = _go_on) -> None:
        self._broker = broker
        self.before = before
        self.after = after
        self.calls: list[SteeredCall] = []

    def claims(self) -> list[SteeredCall]:
        """Return the claims for coroutines that are under way."""
        return [one for one in self.calls if one.is_under_way and one.request is not None]

    async def listen(self) -> Listener:
        """Open a place to be woken at."""
        return await self._broker.listen()

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._broker, verb)

        async def call(*words: Any, **named: Any) -> Any:
            this = SteeredCall(len(self.calls) + 1, verb, words)
            self.calls.append(this)
            try:
                await self.before(this)
                this.answer = await method(*words, **named)
                await self.after(this)
                if this.error is not None:
                    raise this.error
            finally:
                this.is_under_way = False
            return this.answer

        return call


def steered(broker: SteeredBroker) -> AsyncBroker:
    """Return it as what it stands for."""
    return cast("AsyncBroker", broker)
