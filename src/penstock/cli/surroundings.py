"""What is around a job: workers with what they have free, jobs that run, jobs ahead. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from penstock.broker.requests import LeaseFacts
from penstock.cli.needs import Lanes, Need, beside_of, load_of, need_of
from penstock.core.capacity import Capacity, largest_bytes
from penstock.core.demand import NO_DEMAND
from penstock.core.job import THREAD, JobRecord
from penstock.core.load import Load
from penstock.core.placement import Running
from penstock.core.pool import sharing
from penstock.core.room import Room

if TYPE_CHECKING:
    from penstock.cli.explanation import Scene


class Surroundings(NamedTuple):
    """What is around a job.

    Attributes:
        target: what the job itself takes.
        largest_bytes: budget of the largest worker that could run it; None: none says.
        rooms: of all living workers, by name, less what their jobs take.
        guessed: workers of which what is free is a guess.
        running: jobs that run on them.
        ahead: waiting jobs of any queue that go before it, in their order.
        behind: those that go after it.
    """

    target: Load
    largest_bytes: int | None
    rooms: tuple[Room, ...]
    guessed: frozenset[str]
    running: tuple[Running, ...]
    ahead: tuple[Load, ...]
    behind: tuple[Load, ...]

    @property
    def serving(self) -> tuple[Room, ...]:
        """The workers that serve its queue."""
        return tuple(room for room in self.rooms if self.target.queue in room.queues)

    @property
    def ahead_in_queue(self) -> tuple[Load, ...]:
        """The jobs of its own queue that go before it and would take the same room."""
        return tuple(
            one
            for one in self.ahead
            if one.queue == self.target.queue and bool(one.slots) is bool(self.target.slots)
        )


def surroundings_of(scene: Scene) -> Surroundings:
    """Return what is around the job of a scene."""
    known = _Needs(scene, lanes_of(scene))
    target = known.load(scene.record)
    # In the order in which they began: so they were given what there is of GPUs.
    running = tuple(sorted(_running(scene, known), key=lambda one: (-one.since_ms, one.load.rank)))
    rooms = {room.worker: room for room in _empty(scene.leases)}
    for one in running:
        if one.worker in rooms:
            rooms[one.worker] = rooms[one.worker].with_job(one.load)
    rooms = sharing(rooms)
    guessed = {
        job.attempts[-1].worker
        for job in scene.running
        if job.attempts and (job.spec.need == THREAD or not known.need(job).is_known)
    }
    # Which of several GPUs a job has is not told.
    guessed |= {one.worker for one in running if one.load.beside and one.load.beside.takes_gpu}
    waiting = [
        known.load(one)
        for one in scene.queued
        if one.id != scene.record.id
        and (one.queue == scene.record.queue or one.queue not in scene.paused)
    ]
    ahead = sorted((one for one in waiting if one.rank < target.rank), key=lambda one: one.rank)
    return Surroundings(
        target=target,
        largest_bytes=known.largest_bytes(scene.record),
        rooms=tuple(rooms[name] for name in sorted(rooms)),
        guessed=frozenset(guessed if scene.is_whole else rooms),
        running=running,
        ahead=tuple(ahead),
        behind=tuple(one for one in waiting if one.rank > target.rank),
    )


def lanes_of(scene: Scene) -> Lanes:
    """Return what the workers of a job's queue say of their light lanes.

    Where they differ: the longest time, and the word of the last.
    """
    queue = scene.record.queue
    told = [one.capacity for one in scene.leases if one.capacity and queue in one.queues]
    light_ms = max((one.light_runtime_ms for one in told if one.light_runtime_ms), default=None)
    return Lanes(light_ms, {task: said for one in told for task, said in one.light_tasks.items()})


class _Needs:
    """Needs of the jobs of a scene."""

    def __init__(self, scene: Scene, lanes: Lanes) -> None:
        self._scene = scene
        self._lanes = lanes

    def largest_bytes(self, record: JobRecord) -> int | None:
        told = (one.capacity for one in self._scene.leases if record.queue in one.queues)
        return largest_bytes((one for one in told if one), beside_of(record) or NO_DEMAND)

    def need(self, record: JobRecord) -> Need:
        learned = self._scene.footprints.get(record.spec.task, {})
        return need_of(record, learned, self.largest_bytes(record), self._lanes)

    def load(self, record: JobRecord) -> Load:
        return load_of(record, self.need(record), self._scene.now_ms)


def _running(scene: Scene, known: _Needs) -> Iterator[Running]:
    for record in scene.running:
        if record.attempts:
            last = record.attempts[-1]
            yield Running(
                worker=last.worker,
                load=known.load(record),
                since_ms=max(0, scene.now_ms - last.started_at),
            )


def _empty(leases: Sequence[LeaseFacts]) -> Iterator[Room]:
    """Yield the room of each worker as it is when nothing runs; one has several leases."""
    queues: dict[str, set[str]] = {}
    capacities: dict[str, Capacity | None] = {}
    for lease in leases:
        worker = lease.owner.worker
        queues.setdefault(worker, set()).update(lease.queues)
        # One of them tells what the worker does not take for the moment.
        known = capacities.get(worker)
        if known is None or known.stance is None:
            capacities[worker] = lease.capacity
    for worker, served in queues.items():
        yield Room(worker=worker, queues=frozenset(served), has=capacities[worker])
