"""Why a job does not run: what stands in its way, from what the broker knows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from penstock.broker.requests import LeaseFacts, QueueCounts
from penstock.cli.sizes import size
from penstock.cli.times import instant, span
from penstock.core.capacity import Capacity, wanting
from penstock.core.demand import NO_DEMAND, Demand, demand_of, in_words, with_gpu_memory
from penstock.core.footprint import Footprint, size_bucket
from penstock.core.job import JobRecord
from penstock.core.lifecycle import FINAL, State
from penstock.core.memory import ASSUMED_BYTES, COLD_BYTES
from penstock.core.need import is_alone, profile_of, sizes_of
from penstock.core.wording import counted


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A live worker that serves the job's queue.

    Attributes:
        memory_bytes: what it may reserve; null: it does not say.
        holds: whether the job would fit there if nothing else ran; null: nobody knows.
        lacks: what it takes beside memory and this worker has not, in words; null: nothing.
    """

    worker: str
    memory_bytes: int | None
    holds: bool | None
    lacks: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way of a job (`explain`).

    Attributes:
        needs: what it needs, in words.
        reservation_bytes: memory that is set aside for it; null: it shares a process.
        blockers: what stands in its way, in words; empty: nothing does but its turn.
        workers: that serve its queue.
        waiting: jobs of its queue that are queued, this one among them.
    """

    id: str
    state: State
    needs: str
    reservation_bytes: int | None
    blockers: tuple[str, ...]
    workers: tuple[Candidate, ...]
    waiting: int


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is known around a job.

    Attributes:
        counts: of its queue; None: no such queue yet.
        leases: those of living workers.
        footprint: sums of its task; empty: no run was measured.
        now_ms: wall time.
    """

    record: JobRecord
    counts: QueueCounts | None
    leases: Sequence[LeaseFacts]
    footprint: Mapping[str, float]
    now_ms: int


#: States in which a job waits for something else than a worker.
_NOT_YET: Final = frozenset({State.BLOCKED, State.SCHEDULED, State.RETRYING})


def explain(scene: Scene) -> Explanation:
    """Return what stands in the way of a job."""
    record = scene.record
    needs, reservation = _needs(scene)
    beside = in_words(_demand(scene.record) or NO_DEMAND)
    needs = f"{needs}, and {beside}" if beside else needs
    workers = tuple(_candidates(scene, reservation))
    blockers = tuple(_blockers(scene, reservation, workers))
    return Explanation(
        id=record.id,
        state=record.state,
        needs=needs,
        reservation_bytes=reservation,
        blockers=blockers,
        workers=workers,
        waiting=0 if scene.counts is None else scene.counts.queued,
    )


def _needs(scene: Scene) -> tuple[str, int | None]:
    """Return what the job needs, in words and bytes."""
    spec, charges = scene.record.spec, scene.record.charges
    if charges.memory_bytes is not None:
        runs = counted(charges.ooms, "attempt that ran", "attempts that ran")
        return f"{size(charges.memory_bytes)}, after {runs} out of memory", charges.memory_bytes
    if spec.memory_bytes is not None:
        return f"{size(spec.memory_bytes)}, as its call says", spec.memory_bytes
    profile, sizes = profile_of(spec.need), sizes_of(spec.need)
    if profile is not None:
        footprint, bucket = Footprint(scene.footprint), size_bucket(spec.size)
        learned = footprint.reservation_bytes(bucket)
        if learned is None:
            return f"{size(COLD_BYTES)}: too few runs were measured to tell", COLD_BYTES
        of_size = "" if bucket is None else " of about its size"
        runs = counted(footprint.runs(bucket), "run", "runs")
        return f"{size(learned)}, learned from {runs}{of_size}", learned
    if sizes is not None:
        return f"up to {size(sizes.most_bytes)}, as its task says", sizes.most_bytes
    if is_alone(spec.need) or charges.suspect:
        return f"a child; {size(ASSUMED_BYTES)}, since nothing is declared", ASSUMED_BYTES
    return "a slot of a runner that it shares with others", None


def _candidates(scene: Scene, reservation: int | None) -> Iterator[Candidate]:
    seen: dict[str, Capacity | None] = {}
    for lease in scene.leases:
        if scene.record.queue in lease.queues:
            seen[lease.owner.worker] = lease.capacity
    demand = _demand(scene.record)
    for worker, capacity in sorted(seen.items(), key=lambda one: one[0]):
        memory = None if capacity is None else capacity.memory_bytes
        lacks = _lacks(capacity, demand)
        holds = None if memory is None else _holds(scene, reservation, memory)
        holds = False if lacks is not None else holds
        yield Candidate(worker=worker, memory_bytes=memory, holds=holds, lacks=lacks)


def _demand(record: JobRecord) -> Demand | None:
    """Return what a job takes beside memory; None: only a newer release knows."""
    return demand_of(with_gpu_memory(record.spec.need, record.charges.gpu_memory_bytes))


def _lacks(capacity: Capacity | None, demand: Demand | None) -> str | None:
    if demand is None:
        return "something that a newer release knows"
    return wanting(capacity or Capacity(), demand)


def _holds(scene: Scene, reservation: int | None, memory_bytes: int) -> bool:
    """Return whether an empty worker of that budget can hold the job, as its claims would find."""
    spec, charges = scene.record.spec, scene.record.charges
    declared, sizes = charges.memory_bytes or spec.memory_bytes, sizes_of(spec.need)
    if declared is not None:
        return declared <= memory_bytes
    if sizes is not None:
        # The set tells two bounds; what lies between them is found out by a claim.
        return sizes.over_bytes < memory_bytes
    # What is learned or assumed is cut to what the largest worker has.
    budgets = [one.capacity.memory_bytes or 0 for one in scene.leases if one.capacity is not None]
    return reservation is None or memory_bytes >= min(reservation, max(budgets))


def _blockers(scene: Scene, reservation: int | None, workers: Sequence[Candidate]) -> Iterator[str]:
    record, counts = scene.record, scene.counts
    if record.state in FINAL:
        why = "" if record.reason is None else f" ({record.reason})"
        yield f"it is {record.state}{why}: penstock requeue {record.id} runs it again"
        return
    if record.state is State.RUNNING:
        last = record.attempts[-1] if record.attempts else None
        where = "" if last is None else f" in pid {last.pid} of {last.worker}"
        yield f"it runs{where}"
        return
    if record.state is State.BLOCKED:
        left = counted(record.parents_left, "parent is", "parents are")
        yield f"{left} not final yet"
    elif record.state in _NOT_YET and record.due_at is not None:
        yield f"it is due {instant(record.due_at)}, in {span(record.due_at - scene.now_ms)}"
    if counts is not None and counts.paused:
        yield f"queue {record.queue} is paused: penstock queues resume {record.queue}"
    if not workers:
        start = f"penstock worker ... --queues {record.queue}"
        yield f"no live worker serves queue {record.queue}: {start}"
    elif all(one.lacks is not None for one in workers):
        yield (
            f"no live worker of its queue has what it takes; {workers[0].worker} lacks "
            f"{workers[0].lacks}: see the options --cpus, --labels, --resources and --gpus of "
            "penstock worker"
        )
    elif reservation is not None and all(one.holds is False for one in workers):
        largest = max(one.memory_bytes or 0 for one in workers)
        yield (
            f"it needs {size(reservation)}, and the largest worker of its queue may reserve "
            f"{size(largest)}: penstock worker ... --memory SIZE"
        )
