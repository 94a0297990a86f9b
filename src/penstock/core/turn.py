"""Whether a slot is kept for threads while jobs in children could take all. Pure."""

from __future__ import annotations

from typing import Final

#: Milliseconds for which a worker of a single slot lends it to threads, and then to children: many
#: light jobs long, and short beside what waits for a slot that no light lane lends.
TURN_MS: Final = 1_000


def kept_slots(*, total: int, threads_wait: bool, children_wait: bool, now_ms: int) -> int:
    """Return how many slots no child may take, so that neither kind waits for ever.

    Args:
        total: slots of the worker.
        threads_wait: plain jobs wait that only a full slot can run.
        children_wait: jobs wait, or run, that need a child.
        now_ms: of a clock that only rises.
    """
    if not threads_wait:
        return 0
    if total > 1 or not children_wait:
        return 1
    return now_ms // TURN_MS % 2
