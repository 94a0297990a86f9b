"""The calls of a runner, side by side, while the broker is away and when it answers again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, cast

import pytest

from penstock.broker import requests as r
from penstock.core.ids import Fence, LeaseId
from penstock.core.settlement import Applied, Settlement
from penstock.errors import OutcomeUnknown
from penstock.worker.reminder import Reminder
from penstock.worker.runner import carrier as module
from penstock.worker.runner.carrier import Carrier

LEASE = LeaseId("1" * 32)


class Away:
    """A broker that loses the answer to the first claim of each fence for as long as it is told."""

    def __init__(self) -> None:
        """Be away."""
        self.is_away = True
        self.asked: list[Fence] = []
        self.was_asked = asyncio.Event()

    async def claim(self, request: r.ClaimRequest) -> r.ClaimAnswer:
        """Claim, in vain."""
        self.asked.append(request.fence)
        self.was_asked.set()
        if self.is_away:
            raise OutcomeUnknown("lost by the test")
        return r.ClaimAnswer(jobs=(), lease_open=True)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Applied]:
        """Settle; nothing is settled here."""
        raise NotImplementedError(settlements)


def claim() -> r.ClaimRequest:
    """Return a claim with a fence of its own."""
    fence = Fence(secrets.token_hex(16))
    return r.ClaimRequest(lease=LEASE, offers=(r.Offer("q", ("shared",)),), limit=1, fence=fence)


def test_a_claim_is_repeated_as_soon_as_another_call_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it may have taken is known at once, not when its own pause is over."""
    pauses = iter([600.0])
    monkeypatch.setattr(module, "retry_wait_s", lambda _failures: next(pauses))

    async def main() -> None:
        broker = Away()
        carrier = Carrier(cast("Any", broker), lambda _lease: True, Reminder(broker.settle))
        lost, following = claim(), claim()
        waiting = asyncio.ensure_future(carrier.carry((), lost))
        await broker.was_asked.wait()
        assert carrier.is_cut_off
        broker.is_away = False
        await carrier.carry((), following)
        answers = await asyncio.wait_for(waiting, 20)
        assert answers.claimed is not None
        assert broker.asked == [lost.fence, following.fence, lost.fence]

    asyncio.run(main())
