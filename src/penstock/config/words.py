"""Settings that are words: text as it is, names of queues, classes of durability."""

from __future__ import annotations

from penstock.broker.requests import Durability
from penstock.core.names import check_name
from penstock.errors import BadSetting
from penstock.tasks.asked import check_durability


def text(value: object) -> str:
    """Return text as it is."""
    if isinstance(value, str):
        return value
    raise BadSetting(f"{value!r:.80} is not text")


def queues(value: object) -> tuple[str, ...]:
    """Return the names of a list, or of text with commas, each once and in order."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise BadSetting(f"{value!r:.80} names no queues: give a list, or names with commas")
    names = [part.strip() if isinstance(part, str) else part for part in parts]
    return tuple(dict.fromkeys(check_name("queue", name) for name in names))


def durability(value: object) -> Durability | None:
    """Return a class of durability; None where none is said."""
    return None if value == "" else check_durability(value)
