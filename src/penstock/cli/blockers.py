"""What stands in the way of a job: each blocker by its kind, and in words with the way out. Pure.

All that are named must go before the job starts, and none of them is named in vain: as long as one
is there it does not start. Blockers of space are found by a model of what claims bring
(`core/placement.py`): what keeps every worker that could hold the job from taking it now
(`core/room.py`); "ahead" if others would take the room first, the one that is there or the one that
it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from penstock.cli.obstacles import of_rooms
from penstock.cli.sizes import size
from penstock.cli.surroundings import Surroundings
from penstock.cli.times import instant, span
from penstock.core.capacity import Capacity
from penstock.core.demand import NO_DEMAND
from penstock.core.lifecycle import FINAL, State
from penstock.core.load import Load
from penstock.core.placement import place
from penstock.core.room import FULL, OBSTACLES, Room
from penstock.core.wording import counted

if TYPE_CHECKING:
    from penstock.cli.explanation import Scene


class Blocker(NamedTuple):
    """One thing that stands in the way: its kind, and words for people."""

    kind: str
    text: str


#: Blockers of space that are gone without room having been made for one job more.
_NO_ROOM_NEEDED = frozenset(OBSTACLES) - {FULL}
#: Name of a room that is not there, in which the job alone would fit.
_LACKING = "\uffff"


def blockers_of(scene: Scene, around: Surroundings) -> tuple[Blocker, ...]:
    """Return what stands in the way of the job of a scene."""
    if scene.record.state in FINAL or scene.record.state is State.RUNNING:
        return (_ended_or_running(scene),)
    space = list(_of_space(scene, around))
    return (*_of_state(scene), *space, *_of_rank(around, frozenset(one.kind for one in space)))


def _ended_or_running(scene: Scene) -> Blocker:
    record = scene.record
    if record.state in FINAL:
        why = "" if record.reason is None else f" ({record.reason})"
        again = f"penstock requeue {record.id} runs it again"
        return Blocker("final", f"it is {record.state}{why}: {again}")
    last = record.attempts[-1] if record.attempts else None
    where = "" if last is None else f" in pid {last.pid} of {last.worker}"
    return Blocker("running", f"it runs{where}")


def _of_state(scene: Scene) -> Iterator[Blocker]:
    """Yield what keeps the job from being offered to anybody."""
    record = scene.record
    if record.state is State.BLOCKED:
        left = counted(record.parents_left, "parent is", "parents are")
        yield Blocker("parents", f"{left} not final yet")
    elif record.state in {State.SCHEDULED, State.RETRYING} and record.due_at is not None:
        left_ms = record.due_at - scene.now_ms
        if left_ms > 0:
            yield Blocker("due", f"it is due {instant(record.due_at)}, in {span(left_ms)}")
    if scene.counts is not None and scene.counts.paused:
        resume = f"penstock queues resume {record.queue}"
        yield Blocker("paused", f"queue {record.queue} is paused: {resume}")


def _of_space(scene: Scene, around: Surroundings) -> Iterator[Blocker]:
    """Yield what is lacking for this job alone: a worker, a larger one, or room."""
    queue, target, serving = scene.record.queue, around.target, around.serving
    able = [room for room in serving if room.holds(target)]
    if not serving:
        start = f"penstock worker ... --queues {queue}"
        yield Blocker("no_worker", f"no live worker serves queue {queue}: {start}")
    elif (lacks := [room.lacks(target) for room in serving]) and None not in lacks:
        yield Blocker(
            "lacking",
            f"no live worker of its queue has what it takes; {serving[0].worker} lacks {lacks[0]}: "
            "see the options --cpus, --labels, --resources and --gpus of penstock worker",
        )
    elif not able:
        largest = max(room.total_bytes or 0 for room in serving if room.lacks(target) is None)
        yield Blocker(
            "too_large",
            f"it needs {size(target.bytes)}, and the largest worker of its queue may reserve "
            f"{size(largest)}: penstock worker ... --memory SIZE",
        )
    else:
        yield from (Blocker(kind, text) for kind, text in of_rooms(target, able))


def _of_rank(around: Surroundings, gone: frozenset[str]) -> Iterator[Blocker]:
    """Yield whether others go first, once the blockers of space are gone."""
    target = around.target
    rooms = [room.without(gone, target) for room in around.rooms]
    if gone - _NO_ROOM_NEEDED:
        room = Room(worker=_LACKING, queues=frozenset({target.queue}), has=_just_for(target))
        rooms.append(room)
    if target.job not in place(rooms, [*around.ahead, target]):
        yield Blocker(
            "ahead", f"{_rivals(around, rooms)} ahead of it, and would take the room first"
        )
    elif target.job not in place(rooms, [*around.ahead, target, *around.behind]):
        # Race: each worker takes the best of what it can; what is left for all is taken by who is
        # first.
        yield Blocker(
            "ahead", "other workers of its host may take the memory first, for jobs behind it"
        )


def _just_for(target: Load) -> Capacity:
    """Return what a worker would have that could take the job and no more."""
    beside = target.beside or NO_DEMAND
    gpus = max(beside.gpus, int(beside.takes_gpu))
    return Capacity(
        memory_bytes=max(target.bytes, target.least_bytes),
        slots=target.slots,
        light_slots=0,
        cpus_milli=beside.cpus_milli,
        labels=beside.labels,
        gpu_memory_bytes=(max(1, beside.gpu_memory_bytes),) * gpus,
        resources=dict(beside.resources),
    )


def _rivals(around: Surroundings, rooms: Sequence[Room]) -> str:
    """Say how many of those ahead could run where the job could."""
    able = [room for room in rooms if room.holds(around.target)]
    queue = around.target.queue
    found = [
        one
        for one in around.ahead
        if one.slots
        and any(
            queue in room.queues and one.queue in room.queues and room.holds(one) for room in able
        )
    ]
    elsewhere = sum(one.queue != queue for one in found)
    others = f", {elsewhere} of other queues," if elsewhere else ""
    return f"{counted(len(found), 'job', 'jobs')}{others} {'is' if len(found) == 1 else 'are'}"
