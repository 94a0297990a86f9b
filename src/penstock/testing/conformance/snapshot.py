"""Everything that can be seen of a broker, as one value to compare."""

from __future__ import annotations

from typing import Any

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core.ids import JobId
from penstock.core.job import JobRecord

Snapshot = dict[str, Any]
"""Jobs, counters, ready sets and leases; values of the port's own types."""


def snapshot(broker: Broker) -> Snapshot:
    """Return what `broker` shows; equal stores give equal snapshots. Cost: reads every job."""
    counts = list(broker.counts())
    needs = broker.needs([counted.queue for counted in counts])
    return {
        "jobs": every_job(broker),
        "counts": counts,
        "needs": {queue: list(names) for queue, names in needs.items()},
        "leases": sorted(broker.leases(), key=lambda lease: lease.id),
    }


def every_job(broker: Broker) -> list[JobRecord]:
    """Return every job, newest id first, by pages."""
    found: list[JobRecord] = []
    before: JobId | None = None
    while True:
        page = broker.list_jobs(r.JobFilter(), limit=r.BATCH_MAX, before=before)
        found += page.jobs
        before = page.next_before
        if before is None:
            return found
