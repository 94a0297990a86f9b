"""pause and resume: stop and start the claims of one queue.

transitions: none.
"""

from __future__ import annotations

from penstock.core.need import wait_set
from penstock.errors import UsageError

from .store import Store


def pause(store: Store, queue: str) -> None:
    """Let claims of this queue return nothing."""
    _check_known(store, queue)
    store.paused.add(queue)


def resume(store: Store, queue: str) -> None:
    """Undo `pause`, and wake those who can be fed."""
    _check_known(store, queue)
    store.paused.discard(queue)
    for (ready_queue, need), jobs in store.ready.items():
        if ready_queue == queue:
            store.wakeups.wake((queue, wait_set(need)), len(jobs))


def _check_known(store: Store, queue: str) -> None:
    if queue not in store.tags:  # Guard: known queue
        raise UsageError(f"queue {queue!r} is not registered: call register first")
