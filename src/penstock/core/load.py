"""What a job takes where it runs. Pure."""

from __future__ import annotations

import msgspec

from penstock.core.demand import NO_DEMAND, Demand

Rank = tuple[int, str]
"""The place of a job among those that wait: lower goes first (`core/rank.py`), then by id."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a job takes where it runs.

    Attributes:
        job: its id.
        task: its task.
        queue: its queue.
        rank: its place among those that wait.
        slots: 1; 0: none that is counted.
        bytes: what is set aside for it, at most all that its worker has; 0: nothing is.
        most_bytes: what a worker must have free before it looks into the job's set.
        least_bytes: a worker with less in all cannot hold it.
        beside: what it takes beside memory; None: only a newer release knows.
        lane: of a plain function: "light": it may have a slot of the light lane; "full": it may
            not; empty: it is none.
        need: the ready set of its queue that it waits in, as far as is known.
    """

    job: str
    task: str
    queue: str
    rank: Rank
    slots: int
    bytes: int = 0
    most_bytes: int = 0
    least_bytes: int = 0
    beside: Demand | None = NO_DEMAND
    lane: str = ""
    need: str = ""

    @property
    def is_lone(self) -> bool:
        """Whether it runs alone in a child; else it shares a runner with others."""
        return self.bytes > 0
