"""Which cancels have been delivered, and which were not obeyed in time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from penstock.broker.requests import CancelNotice
from penstock.worker.pulse import RETRY_CAP_S

#: Milliseconds after which a runner that could not write tries again at the latest.
_RETRY_MS: Final = int(RETRY_CAP_S * 1000)
#: Milliseconds after the grace before the broker is asked whether the attempt has ended.
_LOOK_AGAIN_MS: Final = 100


class Told(NamedTuple):
    """What one answer of `extend` asks for.

    Attributes:
        fresh: cancels not delivered yet.
        overdue: attempts that outlived the grace; each is named once.
    """

    fresh: tuple[CancelNotice, ...]
    overdue: tuple[CancelNotice, ...]


class Cancels:
    """Remembers notices for as long as the broker tells them again."""

    def __init__(self, grace_ms: int) -> None:
        """Give each attempt `grace_ms` from the delivery of its cancel."""
        self._grace_ms = grace_ms
        self._due_at: dict[CancelNotice, int] = {}
        self._named: set[CancelNotice] = set()

    def told(self, notices: Iterable[CancelNotice], now_ms: int) -> Told:
        """Take in all notices of one answer; what is not among them has ended."""
        # In the order told, so that what follows from it is the same each time.
        present = dict.fromkeys(notices)
        fresh = tuple(one for one in present if one not in self._due_at)
        self._due_at = {one: self._due_at.get(one, now_ms + self._grace_ms) for one in present}
        self._named &= present.keys()
        overdue = tuple(
            one for one, due in self._due_at.items() if due <= now_ms and one not in self._named
        )
        self._named.update(overdue)
        return Told(fresh, overdue)

    def restart(self, now_ms: int) -> None:
        """Give every attempt the whole grace again: for a while no end could be written.

        Race: the supervisor is back before its runners, whose ends wait for their next try: one
        that seems deaf may have ended long ago, and its runner would be killed with its neighbours.
        """
        self._due_at = dict.fromkeys(self._due_at, now_ms + self._grace_ms + _RETRY_MS)

    def look_again_in_ms(self, now_ms: int) -> int | None:
        """Return when the next attempt may have become overdue; None: nothing is under way."""
        due = [at for one, at in self._due_at.items() if one not in self._named]
        return max(0, min(due) - now_ms) + _LOOK_AGAIN_MS if due else None
