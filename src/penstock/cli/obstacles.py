"""What keeps the workers that could hold a job from taking it now, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from penstock.cli.sizes import size
from penstock.core.demand import CPUS, cpus_text
from penstock.core.load import Load
from penstock.core.room import FULL, GATE, HOST, LIMIT, OBSTACLES, PRESSURE, QUIET, Room

#: Workers that a blocker names.
_NAMED_MAX: Final = 3
_TITLES: Final[Mapping[str, str]] = {
    FULL: "no worker that could hold it has room",
    HOST: "the workers of one host share its memory, and too little of it is left: wait for jobs "
    "there, or start a worker on another host",
    LIMIT: "its queue is at its limit: wait for jobs of it, start a worker, or raise concurrency "
    "in its [queues.*] table",
    GATE: "room is kept for another job, which has waited longer and takes more: wait for it, "
    "start a worker, or cancel it",
    PRESSURE: "memory is short on the machine, and nothing starts in children until that is over: "
    "see memory_pause",
    QUIET: "it takes nothing, since it is in quiet mode or drains: SIGCONT ends quiet mode",
}
#: Where each worker has a reason of its own.
_MIXED: Final = "no worker that could hold it takes it now"


def of_rooms(target: Load, able: Sequence[Room]) -> Iterator[tuple[str, str]]:
    """Yield what keeps every worker that could hold a job from taking it, by kind and in words.

    Where they have nothing in common that is enough for one of them, each has reasons of its own:
    then it is one blocker, "full", that tells them all.
    """
    found = {room.worker: room.obstacles(target) for room in able}
    common = frozenset.intersection(*found.values())
    if not all(found.values()):
        return
    if common not in found.values():
        yield FULL, f"{_MIXED}: {_told(target, able, found)}"
        return
    for kind in OBSTACLES:
        if kind in common:
            only = {room.worker: frozenset({kind}) for room in able}
            yield kind, f"{_TITLES[kind]}: {_told(target, able, only)}"


def _told(target: Load, able: Sequence[Room], kinds: Mapping[str, frozenset[str]]) -> str:
    """Say how it stands where the job could run; of many workers, of the first three."""
    told = []
    for room in able[:_NAMED_MAX]:
        words = [_words(target, room, kind) for kind in OBSTACLES if kind in kinds[room.worker]]
        told.append(f"{room.worker} {' and '.join(words)}")
    more = len(able) - len(told)
    return "; ".join(told) + (f"; {more} more" if more else "")


def _words(target: Load, room: Room, kind: str) -> str:
    """Say of one worker what is free."""
    match kind:
        case "host":
            pool = 0 if room.has is None else room.has.pool_bytes or 0
            left = size(max(0, room.free_of_pool or 0))
            return f"finds {left} of {size(pool)} that nobody on its host has reserved"
        case "limit":
            limit, where = room.limit_for(target), "children" if target.is_lone else "runners"
            return (
                f"runs {room.of_queue(target)} of {limit} jobs of queue {target.queue} in {where}"
            )
        case "gate":
            return _kept(room)
        case "pressure":
            return "waits for its machine to have memory again"
        case "quiet":
            return "is quiet or drains"
        case _:
            return f"has {_free(target, room)} free"


def _kept(room: Room) -> str:
    stance = room.stance
    if stance.held_for is None:
        return f"leaves {size(room.wanted_bytes)} to another worker of its host"
    return f"keeps itself free for a job of queue {stance.held_for[0]} ({size(stance.held_bytes)})"


def _free(target: Load, room: Room) -> str:
    parts = []
    if room.free_slots is not None:
        parts.append(f"{max(0, room.free_slots)} of {room.slots} slots")
    if target.lane == "light" and room.free_light_slots is not None:
        parts.append(f"{max(0, room.free_light_slots)} of {room.light_slots} light slots")
    if target.bytes and room.own_free_bytes is not None and room.total_bytes is not None:
        parts.append(f"{size(max(0, room.own_free_bytes))} of {size(room.total_bytes)}")
    for name, (free, total) in room.left_of(target).items():
        if name == CPUS:
            parts.append(f"{cpus_text(max(0, free))} of {cpus_text(total)} CPUs")
        else:
            parts.append(f"{max(0, free)} of {total} {name.removeprefix('resource.')}")
    if target.beside is not None and target.beside.takes_gpu and not room.has_devices(target):
        parts.append("no GPU as it needs")
    return " and ".join(parts)
