"""What a job needs, as far as the broker tells: in words, in bytes, and as a load. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from penstock.cli.sizes import size
from penstock.cli.times import span
from penstock.core.demand import NO_DEMAND, Demand, demand_of, in_words, with_gpu_memory
from penstock.core.footprint import Footprint, size_bucket
from penstock.core.job import THREAD, JobRecord
from penstock.core.lifecycle import State
from penstock.core.load import Load, Rank
from penstock.core.memory import ASSUMED_BYTES, COLD_BYTES
from penstock.core.need import is_alone, profile_of, sized_need, sizes_of
from penstock.core.pace import LIGHT_PART, Kind, Pace
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
        lane: of a plain function: "light" or "full", which slots it may have; empty: it is none.
    """

    words: str
    reservation_bytes: int | None
    least_bytes: int = 0
    most_bytes: int = 0
    is_known: bool = True
    lane: str = ""


class Lanes(NamedTuple):
    """What workers say of their light lanes.

    Attributes:
        light_ms: how long jobs of a task that is light last at most; None: nobody says.
        said: tasks that say themselves whether their jobs are light.
    """

    light_ms: int | None
    said: Mapping[str, bool]


NO_LANES: Final = Lanes(None, {})


def need_of(
    record: JobRecord, learned: Sums, largest_bytes: int | None, lanes: Lanes = NO_LANES
) -> Need:
    """Return what a job needs; what it takes beside memory stands in the words only.

    Args:
        record: the job.
        learned: sums of its task; empty: no run was measured.
        largest_bytes: budget of the largest worker, to which what is learned is cut; None: unknown.
        lanes: what workers say of their light lanes.
    """
    need = _memory_of(record, learned, largest_bytes, lanes)
    beside = in_words(beside_of(record) or NO_DEMAND)
    return need._replace(words=f"{need.words}, and {beside}") if beside else need


def _memory_of(record: JobRecord, learned: Sums, largest_bytes: int | None, lanes: Lanes) -> Need:
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
    if spec.need == THREAD:
        return _plain(record, learned, lanes)
    return Need("a slot of a runner that it shares with others", None)


def _plain(record: JobRecord, learned: Sums, lanes: Lanes) -> Need:
    """Return what a plain function needs."""
    pace, task = Pace(learned), record.spec.task
    kind = Kind.UNKNOWN if lanes.light_ms is None else pace.kind(lanes.light_ms)
    was_sent_on = any(one.outcome == _LOOKED_AT for one in record.attempts)
    is_light = kind not in (Kind.LONG, Kind.BUSY) and not was_sent_on
    lasts_ms = pace.quantile_ms(LIGHT_PART)
    why = "too few runs were measured to tell"
    if task in lanes.said:
        is_light, why = lanes.said[task], "as its task says"
    elif kind is not Kind.UNKNOWN and lasts_ms is not None:
        runs = counted(pace.runs, "run", "runs")
        why = f"of {runs} 95 in 100 lasted up to {span(round(lasts_ms))}"
    if kind is Kind.BUSY and was_sent_on and not is_light:
        words = f"a child; {size(ASSUMED_BYTES)}, since its task holds the CPU"
        return Need(words, ASSUMED_BYTES, 0, ASSUMED_BYTES, is_known=False)
    which, lane = ("light or full", "light") if is_light else ("a full one", "full")
    return Need(f"{_THREAD}, {which}: {why}", None, lane=lane)


_THREAD: Final = "a slot of a thread"


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
    words = f"{size(known)}, learned from {runs}{of_size}"
    if largest_bytes is None:
        # Whatever worker comes first, to that it is cut.
        return Need(words, known, 0, known, is_known=False)
    cut = min(known, largest_bytes)
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
        slots=int(need.reservation_bytes is not None or bool(need.lane)),
        bytes=need.reservation_bytes or 0,
        most_bytes=need.most_bytes,
        least_bytes=need.least_bytes,
        beside=beside_of(record),
        lane=need.lane,
        need=record.spec.need,
    )


def _rank(record: JobRecord, now_ms: int) -> Rank:
    # Its last parent's end and a requeue count too, and are not told: the place is a good guess.
    arrived_at = record.enqueued_at if record.due_at is None else record.due_at
    if record.state is State.BLOCKED:
        arrived_at = max(arrived_at, now_ms)
    return rank_of(record.spec.priority, arrived_at), record.id
