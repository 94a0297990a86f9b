"""Jobs that wait, and that no live worker of their queue could run even if it were empty. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from penstock.broker.requests import LeaseFacts
from penstock.cli.sizes import size
from penstock.core.capacity import Capacity, wanting
from penstock.core.demand import NO_DEMAND, Demand, demand_of, in_words
from penstock.core.need import sizes_of


class Unheld(NamedTuple):
    """Jobs of one queue that nobody can hold.

    Attributes:
        queue: in which they wait.
        text: what they need that is lacking, and the way out.
    """

    queue: str
    text: str


class _Wants(NamedTuple):
    """What the jobs of a ready set take: at least so much memory, and the rest."""

    demand: Demand
    least_bytes: int


def unheld(
    needs: Mapping[str, Sequence[str]], leases: Sequence[LeaseFacts], dead: frozenset[str]
) -> list[Unheld]:
    """Return what no live worker of its queue can hold: a line for each reason in a queue.

    Of a queue that nobody serves nothing is said, nor of one that a worker of an older release
    serves, which does not tell what it has. What is learned of a task is never too large: it is cut
    to the largest worker that has the rest.

    Args:
        needs: queue -> ready sets that are not empty.
        leases: all that are open.
        dead: names of workers that are known to be dead.
    """
    live = [one for one in leases if is_live(one) and one.owner.worker not in dead]
    found: list[Unheld] = []
    for queue, names in needs.items():
        told = [one.capacity for one in live if queue in one.queues]
        capacities = [one for one in told if one is not None and one.memory_bytes]
        if capacities and len(capacities) == len(told):
            texts: dict[Demand, str] = {}
            for one in _wants_of(names):
                if lack := _lack(one, capacities):
                    texts.setdefault(*lack)
            found += [Unheld(queue, text) for text in texts.values()]
    return found


def is_live(lease: LeaseFacts) -> bool:
    """Return whether a lease is extended, as far as the broker can tell."""
    return lease.expires_in_ms is not None and lease.expires_in_ms > 0


def _wants_of(names: Sequence[str]) -> list[_Wants]:
    """Return what each of some ready sets takes, less first, without what a newer release knows."""
    wants = []
    for name in names:
        demand, sizes = demand_of(name), sizes_of(name)
        if demand is not None:
            wants.append(_Wants(demand, 0 if sizes is None else sizes.over_bytes + 1))
    return sorted(wants, key=lambda one: (one.least_bytes, in_words(one.demand)))


def _lack(wants: _Wants, capacities: Sequence[Capacity]) -> tuple[Demand, str] | None:
    """Return of what there is too little and how that is told; None: a worker can hold it.

    Where it is memory alone no demand is named: one larger worker helps all of them.
    """
    lacks = [wanting(one, wants.demand) for one in capacities]
    largest = max(one.memory_bytes or 0 for one in capacities)
    having = [
        one.memory_bytes or 0
        for one, lack in zip(capacities, lacks, strict=True)
        if lack is None
    ]  # fmt: skip
    if not having:
        return wants.demand, (
            f"jobs wait that take {in_words(wants.demand)}, and no live worker has that; the first "
            f"lacks {lacks[0]}: see --cpus, --labels, --resources, --gpus of penstock worker"
        )
    if wants.least_bytes <= max(having):
        return None
    if wants.demand == NO_DEMAND or largest < wants.least_bytes:
        return NO_DEMAND, (
            f"jobs wait that need more than {size(wants.least_bytes - 1)}, and the largest worker "
            f"may reserve {size(largest)}: penstock worker ... --memory SIZE"
        )
    return wants.demand, (
        f"jobs wait that need more than {size(wants.least_bytes - 1)} and take "
        f"{in_words(wants.demand)}, and no live worker has both; those with the latter may reserve "
        f"{size(max(having))}: penstock worker ... --memory SIZE"
    )
