"""All that a broker holds after a run, read through the port alone."""

from __future__ import annotations

import secrets
from typing import Protocol

import msgspec

from penstock.broker.protocol import Claimer, Inspector
from penstock.broker.requests import (
    BATCH_MAX,
    OFFERS_MAX,
    ClaimRequest,
    JobFilter,
    LeaseFacts,
    Offer,
    OpenLease,
    Owner,
    QueueCounts,
)
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State

#: Listing pages are small, so that paging itself is exercised by every run.
PAGE_JOBS = 100


class Dump(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        broker: what kind it is of: "sqlite", "redis", "postgres", "memory".
        jobs: every record, by id, as `get` returns it.
        listed: the ids that a listing by state returned, per state.
        counts: counters of each queue.
        leases: open leases.
        needs: names of the ready sets that say that they hold something, per queue.
        claimable: ids that one last claim over everything handed out.
        leftovers: what a drained worker left behind in the system, one line each; None: nobody
            looked, because no drain ended the run.
    """

    jobs: dict[str, JobRecord]
    listed: dict[State, tuple[str, ...]]
    counts: tuple[QueueCounts, ...]
    leases: tuple[LeaseFacts, ...]
    needs: dict[str, tuple[str, ...]]
    claimable: tuple[str, ...] = ()
    leftovers: tuple[str, ...] | None = None
    broker: str = "memory"


class Readable(Inspector, Claimer, Protocol):
    """The part of the port that a dump needs."""


def take_dump(broker: Readable, *, leftovers: tuple[str, ...] | None = None) -> Dump:
    """Read everything, then try to claim whatever still can be claimed.

    The claim comes last: an index that holds more than the records say gives itself away by
    handing out a job that is final. It changes the broker, so nothing may be read after it.
    """
    everything = _list(broker, None)
    listed = {state: _list(broker, state) for state in State}
    known = dict.fromkeys([*everything, *(job for ids in listed.values() for job in ids)])
    records = {job: broker.get(JobId(job)) for job in known}
    counts = tuple(broker.counts())
    leases = tuple(broker.leases())
    queues = [one.queue for one in counts]
    needs = {queue: tuple(names) for queue, names in broker.needs(queues).items() if names}
    return Dump(
        jobs={job: record for job, record in records.items() if record is not None},
        listed=listed,
        counts=counts,
        leases=leases,
        needs=needs,
        claimable=_claim_rest(broker, needs),
        leftovers=leftovers,
        broker=broker.describe().kind,
    )


def _list(broker: Inspector, state: State | None) -> tuple[str, ...]:
    where = JobFilter(states=None if state is None else (state,))
    ids: list[str] = []
    before: JobId | None = None
    while True:
        page = broker.list_jobs(where, limit=PAGE_JOBS, before=before)
        ids += [job.id for job in page.jobs]
        if page.next_before is None:
            return tuple(ids)
        before = page.next_before


def _claim_rest(broker: Claimer, needs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    offers = [Offer(queue, names[:OFFERS_MAX]) for queue, names in needs.items()]
    claimed: list[str] = []
    for offer in offers:
        lease = LeaseId(secrets.token_hex(16))
        nobody = Owner("dump", "nowhere", "no-boot", 0, 0, 0)
        broker.open_lease(OpenLease(id=lease, queues=(offer.queue,), owner=nobody, ttl_ms=60_000))
        request = ClaimRequest(
            lease=lease, offers=(offer,), limit=BATCH_MAX, fence=Fence(secrets.token_hex(16))
        )
        claimed += [job.id for job in broker.claim(request).jobs]
    return tuple(claimed)
