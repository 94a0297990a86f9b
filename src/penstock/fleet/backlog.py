"""What waits for a kind of worker, out of what a broker counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from penstock.broker.requests import QueueCounts
from penstock.core.autoscale import Backlog
from penstock.core.need import sizes_of


def backlog_of(
    queues: Sequence[str], counts: Iterable[QueueCounts], needs: Mapping[str, Sequence[str]]
) -> Backlog:
    """Return what waits in some queues, and what of them runs.

    No verb tells how many bytes wait: the broker counts jobs by queue and names the ready sets that
    are not empty. So each job of a queue is taken for the mean of its sets that tell a size; the
    others, light ones and learned ones, count as nothing.

    Args:
        queues: empty: all that were counted.
        counts: of the queues; what waits in paused ones asks for nobody.
        needs: names of the ready sets that are not empty, by queue.
    """
    queued = queued_bytes = running = 0
    for one in counts:
        if queues and one.queue not in queues:
            continue
        running += one.running
        if not one.paused:
            queued += one.queued
            queued_bytes += one.queued * _mean_bytes(needs.get(one.queue, ()))
    return Backlog(queued=queued, queued_bytes=queued_bytes, running=running)


def _mean_bytes(names: Sequence[str]) -> int:
    sizes = [sizes_of(name) for name in names]
    return sum(one.most_bytes for one in sizes if one is not None) // max(1, len(sizes))
