"""One call of the pump under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from penstock.broker.requests import ClaimRequest
from penstock.worker.runner.feed import Feed

if TYPE_CHECKING:
    from penstock.worker.runner.pump import Ended


class Round:
    """What a call carries, and the feed that it claims for.

    Attributes:
        batch: settlements that it carries and that are not told yet.
        feed: that it claims for, until its claim is answered; None: it claims nothing.
        request: its claim.
        task: that makes the call.
    """

    __slots__ = ("batch", "feed", "request", "task")

    def __init__(self, batch: list[Ended], feed: Feed | None, request: ClaimRequest | None) -> None:
        """Begin with no call made."""
        self.batch = batch
        self.feed = feed
        self.request = request
        self.task: asyncio.Task[None] | None = None

    @property
    def claim(self) -> ClaimRequest | None:
        """The claim, for as long as it is not answered."""
        return None if self.feed is None else self.request
