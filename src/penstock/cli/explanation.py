"""Why a job does not run: what stands in its way, from what the broker knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from penstock.broker.requests import LeaseFacts, QueueCounts
from penstock.cli.blockers import Blocker, blockers_of
from penstock.cli.needs import Sums, need_of
from penstock.cli.surroundings import Surroundings, lanes_of, surroundings_of
from penstock.core.job import JobRecord
from penstock.core.lifecycle import FINAL, State
from penstock.core.placement import starts_in_ms
from penstock.core.room import OBSTACLES, Room


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A live worker that serves the job's queue. Null: it does not say.

    Attributes:
        memory_bytes: what it may reserve.
        free_bytes: of that, what is not set aside for the jobs that it runs, nor reserved by others
            of its host where they have left less.
        slots: threads and children that it runs at once.
        free_slots: of these, those that are free.
        light_slots: further threads, which only light jobs may have.
        free_light_slots: of these, those that are free.
        holds: whether the job would fit there if nothing else ran; null: nobody knows.
        lacks: what it takes beside memory and this worker has not, in words; null: nothing.
        queue_limit: jobs like this that it runs of the queue at a time; null: no limit is known.
        queue_running: how many it runs.
        obstacles: what keeps it from taking now a job that it could hold, by kind: "full", "host",
            "limit", "gate", "pressure" or "quiet".
        estimated: what is free is a guess: of some of its jobs only their task says what they
            need, or what was learned, or not all could be looked at.
    """

    worker: str
    memory_bytes: int | None
    free_bytes: int | None
    slots: int | None
    free_slots: int | None
    light_slots: int | None
    free_light_slots: int | None
    holds: bool | None
    lacks: str | None
    queue_limit: int | None
    queue_running: int
    obstacles: tuple[str, ...]
    estimated: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way of a job (`explain`).

    Attributes:
        needs: what it needs, in words.
        reservation_bytes: memory that is set aside for it; null: it shares a process.
        blockers: what stands in its way, in words; empty: nothing does but its turn. All of them
            must go before it starts.
        kinds: the kind of each blocker: "final", "running", "parents", "due", "paused",
            "no_worker", "lacking", "too_large", one of the obstacles of workers, or "ahead".
        workers: that serve its queue.
        waiting: jobs of its queue that are queued, this one among them.
        ahead: jobs of its queue that would take the same room and go first.
        ahead_at_least: there may be more of them: not all could be looked at.
        starts_in_ms: earliest start, if jobs run for as long as those of their tasks did lately;
            null: nobody knows.
        start: the same in words, or why nobody knows.
    """

    id: str
    state: State
    needs: str
    reservation_bytes: int | None
    blockers: tuple[str, ...]
    kinds: tuple[str, ...]
    workers: tuple[Candidate, ...]
    waiting: int
    ahead: int
    ahead_at_least: bool
    starts_in_ms: int | None
    start: str


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is known around a job.

    Attributes:
        counts: of its queue; None: no such queue yet.
        leases: those of living workers.
        footprints: task -> sums; of a task that is not there no run was measured.
        now_ms: wall time.
        paused: queues that are paused.
        queued: jobs that wait for a worker, in any queue.
        running: jobs that run.
        is_whole: these are all of them; else as many as were looked at.
        runs_ms: task -> how long its last jobs ran, the median.
    """

    record: JobRecord
    counts: QueueCounts | None
    leases: Sequence[LeaseFacts]
    footprints: Mapping[str, Sums]
    now_ms: int
    paused: frozenset[str] = frozenset()
    queued: Sequence[JobRecord] = ()
    running: Sequence[JobRecord] = ()
    is_whole: bool = True
    runs_ms: Mapping[str, int] = {}


def explain(scene: Scene) -> Explanation:
    """Return what stands in the way of a job."""
    around = surroundings_of(scene)
    blockers = blockers_of(scene, around)
    kinds = tuple(one.kind for one in blockers)
    starts, words = _start(scene, around, blockers)
    need = need_of(
        scene.record,
        scene.footprints.get(scene.record.spec.task, {}),
        around.largest_bytes,
        lanes_of(scene),
    )
    return Explanation(
        id=scene.record.id,
        state=scene.record.state,
        needs=need.words,
        reservation_bytes=need.reservation_bytes,
        blockers=tuple(one.text for one in blockers),
        kinds=kinds,
        workers=tuple(_candidate(room, around) for room in around.serving),
        waiting=0 if scene.counts is None else scene.counts.queued,
        ahead=len(around.ahead_in_queue),
        ahead_at_least=not scene.is_whole,
        starts_in_ms=starts,
        start=words,
    )


def _candidate(room: Room, around: Surroundings) -> Candidate:
    return Candidate(
        worker=room.worker,
        memory_bytes=room.total_bytes,
        # Of a pool that each of two workers counts for itself more may be reserved than one of them
        # knows of.
        free_bytes=None if room.free_bytes is None else max(0, room.free_bytes),
        slots=room.slots,
        free_slots=None if room.free_slots is None else max(0, room.free_slots),
        light_slots=room.light_slots,
        free_light_slots=None if room.free_light_slots is None else max(0, room.free_light_slots),
        holds=_holds(room, around),
        lacks=room.lacks(around.target),
        queue_limit=room.limit_for(around.target),
        queue_running=room.of_queue(around.target),
        obstacles=_obstacles(room, around),
        estimated=room.worker in around.guessed,
    )


def _holds(room: Room, around: Surroundings) -> bool | None:
    if room.total_bytes is None and room.lacks(around.target) is None:
        return None
    return room.holds(around.target)


def _obstacles(room: Room, around: Surroundings) -> tuple[str, ...]:
    found = room.obstacles(around.target) if room.holds(around.target) else ()
    return tuple(kind for kind in OBSTACLES if kind in found)


#: Blockers that go away as jobs end, which can be foreseen where it is known how long they run.
TIMED: Final = frozenset({"full", "host", "limit", "gate", "ahead"})


def _start(
    scene: Scene, around: Surroundings, blockers: Sequence[Blocker]
) -> tuple[int | None, str]:
    """Return the earliest start in milliseconds, and in words."""
    record = scene.record
    if record.state in FINAL or record.state is State.RUNNING:
        return None, f"it is {record.state}"
    lasting = [one.kind for one in blockers if one.kind not in TIMED | {"due"}]
    if lasting:
        return None, f"nobody knows: {', '.join(lasting)}"
    is_due_later = any(one.kind == "due" for one in blockers)
    due_ms = max(0, (record.due_at or 0) - scene.now_ms) if is_due_later else 0
    if not TIMED & {one.kind for one in blockers}:
        return due_ms, "when it is due" if due_ms else "now, or as soon as a worker looks"
    starts = starts_in_ms(
        around.target,
        rooms=around.rooms,
        running=around.running,
        waiting=around.ahead,
        runs_ms=scene.runs_ms,
    )
    if starts is None:
        return None, "nobody knows: of some jobs before it no run was measured"
    if max(due_ms, starts) == 0:
        return 0, "about now: jobs like those that run have mostly ended by this time"
    return max(due_ms, starts), "an estimate: if jobs run as long as those of their tasks did"
