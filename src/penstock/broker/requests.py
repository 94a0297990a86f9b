"""What goes over the port: one request and one answer type per verb, all batches.

They are plain values, built and read by pure code, so that the sync and the async driver of a
broker share everything but the wire. Durations are milliseconds; instants are the broker's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from penstock.core.capacity import Capacity
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Claimed, JobRecord, JobSpec, Parent, Reason, StoredError
from penstock.core.lifecycle import State
from penstock.errors import BrokerError

#: Jobs in one call of a hot verb; a larger `enqueue_many` is cut into calls of this size.
BATCH_MAX: Final = 500
#: Ready sets that one claim may offer, over all its queues (design.md §5).
OFFERS_MAX: Final = 64
#: Bytes of one payload unless set otherwise; also the cap of one result.
PAYLOAD_BYTES_MAX: Final = 1_048_576
#: Bytes of one stored error's traceback; longer ones keep head and tail.
ERROR_BYTES_MAX: Final = 65_536
#: Log lines and bytes kept per job.
LOG_LINES_MAX: Final = 1_000
LOG_BYTES_MAX: Final = 262_144
#: Fields of one tally; a histogram of sizes from 16 MiB to 1 TiB in steps of 1.25 has 50 bins.
TALLY_FIELDS_MAX: Final = 64
#: Characters of a profile, which holds the name of a task (128) and what its sizes are told by.
PROFILE_CHARS_MAX: Final = 300
#: Characters of one field of a profile.
FIELD_CHARS_MAX: Final = 40
#: One amount of a tally. Weights that grow with time, e-fold a day, reach it after most of a year;
#: no sum of such amounts leaves the range of a double (1.8e308).
AMOUNT_MAX: Final = 1e150


class Durability(StrEnum):
    """What an accepted write survives."""

    NONE = "none"
    """Nothing: the memory broker."""
    LOCAL = "local"
    """The death of any process that uses the broker. Power loss may take the last writes, and the
    crash of a server what it had not written yet: the layout page of each store says how much.
    """
    REPLICATED = "replicated"
    """The death of the broker's primary."""
    FSYNC = "fsync"
    """Power loss. SQLite: synchronous FULL."""


class EnqueueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One job to be accepted.

    Attributes:
        id: drawn by the caller with the tag of `queue`; the same id again writes nothing and
            answers as a duplicate.
        delay_ms: due this long after the broker accepts it; None: at once, or at `due_at`.
        due_at: due at this instant of wall time; not together with `delay_ms`.
        parents: jobs that must be final first, each named once.
        key_digest: digest of the payload, compared when `spec.key` is taken.
        key_ttl_ms: window in which `spec.key` stays unique per task.
    """

    id: JobId
    queue: str
    spec: JobSpec
    delay_ms: int | None = None
    due_at: int | None = None
    parents: tuple[Parent, ...] = ()
    key_digest: str | None = None
    key_ttl_ms: int = 86_400_000


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """The job is stored.

    Attributes:
        id: its id; another one than asked for where `duplicate` by key.
        state: where it was put (or is, for a duplicate).
        durability: what this answer survives.
        duplicate: nothing was written: the id or the key was known.
    """

    id: JobId
    state: State
    durability: Durability
    duplicate: bool = False


class Refused(msgspec.Struct, frozen=True):
    """The job is not stored, definitely. `error` says why, and its class says what to do."""

    error: BrokerError


class Owner(msgspec.Struct, frozen=True):
    """Which process stands behind a lease; a dead one is known by all five together.

    Attributes:
        worker: name of the worker.
        host: host name, for people.
        boot_id: boot of the host.
        pid_namespace: inode of the pid namespace; pids compare only inside the same one.
        pid: process that claims under the lease.
        started_ticks: its start time in clock ticks since boot, so that a reused pid is told apart.
    """

    worker: str
    host: str
    boot_id: str
    pid_namespace: int
    pid: int
    started_ticks: int


class LeaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One open lease, as `leases` lists it.

    Attributes:
        expires_in_ms: until it runs out; negative: it has. None: stamped under another boot id.
        running: jobs that run under it.
        wake_token: address at which its worker listens, if any.
        capacity: what its worker can take, as the lease was opened with; None: it did not say.
    """

    id: LeaseId
    queues: tuple[str, ...]
    owner: Owner
    expires_in_ms: int | None
    running: int
    wake_token: str | None = None
    capacity: Capacity | None = None


class OpenLease(msgspec.Struct, frozen=True, kw_only=True):
    """A lease to be opened, one entry per queue.

    Attributes:
        id: drawn by the caller, never used before.
        ttl_ms: runs out this long after the broker opens or last extends it.
        wake_token: where to nudge the worker when a cancel is requested.
        capacity: what the worker can take, for others to read; nothing is decided by it here.
    """

    id: LeaseId
    queues: tuple[str, ...]
    owner: Owner
    ttl_ms: int
    wake_token: str | None = None
    capacity: Capacity | None = None


class Offer(msgspec.Struct, frozen=True):
    """Ready sets of one queue that the caller can take jobs from.

    Attributes:
        limit: at most this many jobs of this queue in this call; None: only the call's limit.
    """

    queue: str
    needs: tuple[str, ...]
    limit: int | None = None


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for the best jobs of the offered ready sets.

    Attributes:
        lease: must be open and unexpired for each queue, else that queue gives nothing.
        offers: at most `OFFERS_MAX` sets in all, each queue once.
        limit: 1..BATCH_MAX jobs.
        fence: 128 random bits, drawn for this call alone.
        wake_token: left as a waiter token at every offered set when nothing was claimed, so that
            only what it can take wakes it; a wake-up uses it up. At any set whose jobs run in
            children it stands for all of these (`core.need.wait_set`).
    """

    lease: LeaseId
    offers: tuple[Offer, ...]
    limit: int
    fence: Fence
    wake_token: str | None = None


class ClaimAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was claimed.

    Attributes:
        jobs: 0..limit, best rank first over all offered sets.
        lease_open: False: the lease is closed, expired or unknown; draw a new one.
        next_due_in_ms: until the earliest waiting job of the offered queues becomes due; None: no
            such job. Only told when nothing was claimed.
    """

    jobs: tuple[Claimed, ...]
    lease_open: bool
    next_due_in_ms: int | None = None


class CancelNotice(msgspec.Struct, frozen=True):
    """A running job whose cancel is requested."""

    id: JobId
    fence: Fence
    lease: LeaseId


class ExtendAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `extend` found.

    Attributes:
        lost: leases that are closed or unknown; their jobs belong to others.
        cancels: cancels requested for jobs under the extended leases; told again until settled.
    """

    lost: tuple[LeaseId, ...]
    cancels: tuple[CancelNotice, ...]


class ReclaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Take over running jobs whose lease is closed or has run out.

    Attributes:
        lease: the taker's own; the jobs run under it until they are settled. It must be open and
            unexpired for each queue, else nothing of that queue is taken.
        queues: only these.
        fence: 128 random bits, drawn for this call alone.
        limit: 1..BATCH_MAX jobs.
        lease_ttl_ms: what a full lease is, for the grace window and for leases of another boot.
    """

    lease: LeaseId
    queues: tuple[str, ...]
    fence: Fence
    limit: int
    lease_ttl_ms: int


class ReclaimAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken over.

    Attributes:
        jobs: with the taker's fence, `worker` and `pid` naming who ran them before.
        closed: leases that ran out and were closed by this call.
        hold_ms: the reaper holds for this long after an outage; 0: it does not.
    """

    jobs: tuple[Claimed, ...]
    closed: tuple[LeaseId, ...]
    hold_ms: int = 0


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a running attempt wants kept, guarded by its fence. None: leave as it is.

    Attributes:
        progress: replaces the last value.
        checkpoint: replaces what the next attempt will find.
        log: lines to append; the oldest beyond the cap are dropped.
    """

    id: JobId
    fence: Fence
    progress: msgspec.Raw | None = None
    checkpoint: msgspec.Raw | None = None
    log: tuple[str, ...] = ()


class Tally(msgspec.Struct, frozen=True):
    """What is to be added to the footprint of one profile; the broker knows no meaning of it.

    Attributes:
        profile: whose footprint, 1..PROFILE_CHARS_MAX printable characters.
        adds: field -> what is added to it, 0..AMOUNT_MAX; at most TALLY_FIELDS_MAX fields, each
            1..FIELD_CHARS_MAX printable characters. What a field held before counts as 0 where it
            held nothing.
    """

    profile: str
    adds: Mapping[str, float]


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a job that those who wait for it need."""

    id: JobId
    state: State
    reason: Reason | None = None
    result: msgspec.Raw | None = None
    result_dropped: bool = False
    error: StoredError | None = None


class CancelAnswer(StrEnum):
    """What `cancel` did."""

    CANCELLED = "cancelled"
    """The job waited; it is cancelled and never starts."""
    REQUESTED = "requested"
    """The job runs; its attempt is told, and the outcome decides."""
    TOO_LATE = "too_late"
    """The job was final already."""
    NOT_FOUND = "not_found"
    """No such job."""


class OperatorAnswer(StrEnum):
    """What `requeue` or `delete` did to one job."""

    DONE = "done"
    WRONG_STATE = "wrong_state"
    """The job is not final."""
    NOT_FOUND = "not_found"


class QueueCounts(msgspec.Struct, frozen=True, kw_only=True):
    """True counters of one queue, changed in the same atomic step as the jobs.

    Attributes:
        paused: claims of this queue return nothing.
        oldest_queued_ms: how long the oldest claimable job has been queued; None: none is.
    """

    queue: str
    blocked: int = 0
    scheduled: int = 0
    queued: int = 0
    running: int = 0
    retrying: int = 0
    completed: int = 0
    dead: int = 0
    cancelled: int = 0
    expired: int = 0
    paused: bool = False
    oldest_queued_ms: int | None = None


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs `list_jobs` returns. All conditions must hold; None: any."""

    queue: str | None = None
    states: tuple[State, ...] | None = None
    task: str | None = None
    reason: Reason | None = None


class JobPage(msgspec.Struct, frozen=True):
    """A part of a listing, newest id first.

    Attributes:
        next_before: pass as `before` to get the next page; None: this was the last.
    """

    jobs: tuple[JobRecord, ...]
    next_before: JobId | None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long final jobs of one state are kept; whichever bound is met first.

    Attributes:
        age_ms: since they became final.
        count_max: newest of this state per queue.
    """

    state: State
    age_ms: int
    count_max: int


class BrokerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker is, for `doctor`, `enqueue` and logs. Never holds a secret.

    Attributes:
        kind: "memory", "sqlite", ...
        location: absolute path, or URL without its password.
        version: of the store.
        durability: class of an enqueue that asks for none.
        durabilities: classes it can give.
        warnings: settings that endanger jobs, each with the way out.
        advice: settings that could be better, each with the value it should have.
        schema_version: of what it holds; None: it keeps nothing.
    """

    kind: str
    location: str
    version: str
    durability: Durability
    durabilities: tuple[Durability, ...]
    warnings: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    schema_version: int | None = None
