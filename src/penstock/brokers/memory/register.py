"""register: give each queue its tag.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.core.ids import QUEUE_TAG_MAX
from penstock.core.names import check_name
from penstock.errors import UsageError

from .store import Store


def register(store: Store, queues: Sequence[str]) -> Mapping[str, int]:
    """Return the tag of each queue. Cost: O(queues asked for)."""
    for queue in queues:
        check_name("queue", queue)
    for queue in queues:
        if queue in store.tags:  # Guard: a tag never changes
            continue
        if len(store.tags) >= QUEUE_TAG_MAX:
            raise UsageError(f"queue {queue!r} has no tag: all {QUEUE_TAG_MAX} are given")
        store.tags[queue] = len(store.tags) + 1
    return {queue: store.tags[queue] for queue in queues}
