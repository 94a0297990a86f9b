"""Workers of one host that share its memory: what each finds of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from penstock.core.room import Room


def sharing(rooms: Mapping[str, Room]) -> dict[str, Room]:
    """Return the rooms, by worker, each with what the others have of its pool."""
    held: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for room in rooms.values():
        held[room.pool] += room.reserved_bytes
        wanted[room.pool] += _wanted_by(room)
    return {
        worker: msgspec.structs.replace(
            room,
            others_bytes=held[room.pool] - room.reserved_bytes,
            wanted_bytes=wanted[room.pool] - _wanted_by(room),
        )
        if room.pool
        else room
        for worker, room in rooms.items()
    }


def _wanted_by(room: Room) -> int:
    """Return what a worker wants left free by those that share its memory."""
    return 0 if room.stance.held_for is None else room.stance.wanted_bytes
