"""How does Penstock on PostgreSQL compare with procrastinate and pgqueuer, in one run?

Each measurement has a PostgreSQL cluster of its own, new, durable as it comes (fsync and
synchronous_commit on). One worker process each, a no-op with one small dict, results stored where
the peer stores them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from benchmarks import harness, measures
from benchmarks.entries import postgres
from benchmarks.promises import servers
from benchmarks.scenario import Scenario
from benchmarks.stores import PostgresServer, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contestants import Contestant

#: Action of a script -> figure, jobs; each on a new cluster.
ENQUEUEING = {
    "enqueue": ("enqueue_per_s", 1_000),
    "aenqueue": ("aenqueue_per_s", 1_000),
    "gather": ("gather_per_s", 5_000),
    "bulk": ("bulk_per_s", 10_000),
}


@contextlib.contextmanager
def prepared(one: Contestant) -> Iterator[PostgresServer]:
    """Run a cluster in which the contestant has its tables."""
    with postgres_server() as place:
        if one.prepare:
            harness.act(one, place, "prepare")
        yield place


def enqueue(one: Contestant) -> dict[str, float]:
    """Jobs per second into an idle server: plain calls, awaited calls one by one, 100, bulk."""
    found = {}
    for action, (figure, jobs) in ENQUEUEING.items():
        with prepared(one) as place:
            answer = harness.act(one, place, action, count=jobs)
            if "absent" not in answer:
                found[figure] = measures.rate(answer)
    return found


def drain(one: Contestant) -> dict[str, float]:
    """Jobs per second from the first body's start until all results are stored."""
    with prepared(one) as place:
        return measures.drain(one, place, one.drain_jobs)


def pick_up(one: Contestant) -> dict[str, float]:
    """Milliseconds from just before the enqueue call to the body's start; idle queue."""
    with prepared(one) as place:
        return measures.pick_up(one, place)


def start(one: Contestant) -> dict[str, float]:
    """Seconds from the start of a fresh process to its first accepted enqueue."""
    with prepared(one) as place:
        return measures.start(one, place)


def memory(one: Contestant) -> dict[str, float]:
    """PSS in MiB of the worker, with all it started, after 100 jobs."""
    with prepared(one) as place:
        return measures.memory(one, place)


SCENARIO = Scenario(
    title="Penstock on PostgreSQL beside its peers",
    notes=(
        "One worker process each; `tuned` as far as its options go, `default` as it comes. "
        "procrastinate and pgqueuer store no result of a job: its row or log row stands in. "
        "Server: fsync and synchronous_commit on, 256 MB of shared buffers; peers and Penstock "
        "`fsync` wait for the disk in each commit that accepts or ends jobs, `local` does not."
    ),
    everybody=postgres.everybody,
    measures={
        "enqueue": enqueue,
        "drain": drain,
        "pick_up": pick_up,
        "start": start,
        "memory": memory,
    },
    figures=servers.FIGURES,
    tables=servers.TABLES,
    bars=servers.POSTGRES_BARS,
)
