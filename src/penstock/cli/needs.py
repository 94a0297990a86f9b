"""What a job needs, as far as the broker tells: in words, in bytes, and as a load. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from penstock.cli.sizes import size
from penstock.core.demand import NO_DEMAND, Demand, demand_of, in_words, with_gpu_memory
from penstock.core.footprint import Footprint, size_bucket
from penstock.core.job import THREAD, JobRecord
from penstock.core.lifecycle import State
from penstock.core.load import Load, Rank
from penstock.core.memory import ASSUMED_BYTES, COLD_BYTES
from penstock.core.need import is_alone, profile_of, sized_need, sizes_of
from penstock.core.rank import rank_of
from penstock.core.wording import counted

#: How an attempt ends of a job that was claimed, and did not fit.
_LOOKED_AT: Final = "does_not_fit"
Sums = Mapping[str, float]
"""What was learned of a task (`core/footprint.py`)."""


class Need(NamedTuple):
    """What a job needs.

    Attributes:
        words: for people.
        reservation_bytes: memory that is set aside for it; None: it shares a process.
        least_bytes: a worker with less in all cannot hold it.
        most_bytes: what a worker must have free before it looks into the job's set.
        is_known: the reservation stands with the job, and does not rest on what its task or its
            measured runs say.
    """

    words: str
    reservation_bytes: int | None
    least_bytes: int = 0
    most_bytes: int = 0
    is_known: bool = True


def need_of(record: JobRecord, learned: Sums, largest_bytes: int | None) -> Need:
    """Return what a job needs; what it takes beside memory stands in the words only.

    Args:
        record: the job.
        learned: sums of its task; empty: no run was measured.
        largest_bytes: budget of the largest worker, to which what is learned is cut; None: unknown.
    """
    need = _memory_of(record, learned, largest_bytes)
    beside = in_words(beside_of(record) or NO_DEMAND)
    return need._replace(words=f"{need.words}, and {beside}") if beside else need


def _memory_of(record: JobRecord, learned: Sums, largest_bytes: int | None) -> Need:
    spec, charges = record.spec, record.charges
    if charges.memory_bytes is not None:
        runs = counted(charges.ooms, "attempt that ran", "attempts that ran")
        return _declared(charges.memory_bytes, f"after {runs} out of memory")
    if spec.memory_bytes is not None:
        return _declared(spec.memory_bytes, "as its call says")
    last = record.attempts[-1] if record.attempts else None
    if last is not None and last.outcome == _LOOKED_AT and last.usage and last.usage.reserved_bytes:
        return _declared(last.usage.reserved_bytes, "as the worker found that looked at it last")
    sizes = sizes_of(spec.need)
    if profile_of(spec.need) is not None:
        return _learned(record, learned, largest_bytes)
    if sizes is not None:
        bounds = f"more than {size(sizes.over_bytes)}, up to {size(sizes.most_bytes)}"
        words = f"{bounds}, as its task says"
        # The set tells two bounds; what lies between them is found out by a claim.
        return Need(words, sizes.most_bytes, sizes.over_bytes + 1, sizes.most_bytes, is_known=False)
    if is_alone(spec.need) or charges.suspect:
        words = f"a child; {size(ASSUMED_BYTES)}, since nothing is declared"
        return Need(words, ASSUMED_BYTES, 0, ASSUMED_BYTES, is_known=False)
    return Need("a slot of a runner that it shares with others", None)


def _declared(needed: int, why: str) -> Need:
    sizes = sizes_of(sized_need(needed))
    most = needed if sizes is None else sizes.most_bytes
    return Need(f"{size(needed)}, {why}", needed, needed, most)


def _learned(record: JobRecord, learned: Sums, largest_bytes: int | None) -> Need:
    footprint, bucket = Footprint(learned), size_bucket(record.spec.size)
    known = footprint.reservation_bytes(bucket)
    if known is None:
        words = f"{size(COLD_BYTES)}: too few runs were measured to tell"
        return Need(words, COLD_BYTES, 0, COLD_BYTES, is_known=False)
    telling = footprint.telling(bucket)
    of_size = "" if bucket is None else " of about its size"
    if telling > footprint.runs(bucket):
        of_size += " and the nearest"
    runs = counted(telling, "run", "runs")
    cut = known if largest_bytes is None else min(known, largest_bytes)
    words = f"{size(known)}, learned from {runs}{of_size}"
    return Need(words, known, cut, cut, is_known=False)


def beside_of(record: JobRecord) -> Demand | None:
    """Return what a job takes beside memory; None: only a newer release knows."""
    return demand_of(with_gpu_memory(record.spec.need, record.charges.gpu_memory_bytes))


def load_of(record: JobRecord, need: Need, now_ms: int) -> Load:
    """Return what a job takes where it runs, and its place among those that wait.

    A job that does not wait for a worker yet gets its place when it does: when it is due, or now.
    """
    return Load(
        job=record.id,
        task=record.spec.task,
        queue=record.queue,
        rank=_rank(record, now_ms),
        slots=_slots(record, need),
        bytes=need.reservation_bytes or 0,
        most_bytes=need.most_bytes,
        least_bytes=need.least_bytes,
        beside=beside_of(record),
        need=record.spec.need,
    )


def _slots(record: JobRecord, need: Need) -> int:
    """Return how many slots a job takes of those that threads and children share.

    A plain function that waits may find room in the light lane, of which nothing is told here.
    """
    is_thread = record.spec.need == THREAD and record.state is State.RUNNING
    return int(need.reservation_bytes is not None or is_thread)


def _rank(record: JobRecord, now_ms: int) -> Rank:
    # Its last parent's end and a requeue count too, and are not told: the place is a good guess.
    arrived_at = record.enqueued_at if record.due_at is None else record.due_at
    if record.state is State.BLOCKED:
        arrived_at = max(arrived_at, now_ms)
    return rank_of(record.spec.priority, arrived_at), record.id
