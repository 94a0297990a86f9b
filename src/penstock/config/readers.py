"""How the value of each setting is read. Each raises BadSetting where it breaks its rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from penstock.broker.requests import Durability
from penstock.config.quota import cpus
from penstock.core.names import check_name
from penstock.core.secret import SecretKeys
from penstock.core.units import duration_ms, size_bytes
from penstock.errors import BadSetting
from penstock.tasks.asked import check_durability

#: Bytes that payloads and results may be raised to: what one frame to a child can carry.
_BYTES_CEILING: Final = 16 * 2**20
#: Bytes that they may be lowered to; below it no error text would fit.
_BYTES_FLOOR: Final = 1_024


def read_text(value: object) -> str:
    """Return text."""
    if isinstance(value, str):
        return value
    raise BadSetting(f"{value!r:.80} is not text")


def read_queues(value: object) -> tuple[str, ...]:
    """Return names of queues, given as a list or with commas."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise BadSetting(f"{value!r:.80} names no queues: give a list, or names with commas")
    names = [part.strip() if isinstance(part, str) else part for part in parts]
    return tuple(dict.fromkeys(check_name("queue", name) for name in names))


def read_durability(value: object) -> Durability | None:
    """Return a class of durability, None for ""."""
    return None if value == "" else check_durability(value)


def whole_number(least: int, most: int) -> Callable[[Any], int]:
    """Return a reader of whole numbers within bounds."""

    def read(value: object) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
            return number
        raise BadSetting(f"{value!r:.80} is not a whole number from {least} to {most}")

    return read


def read_concurrency(value: object) -> int:
    """Return a number of slots; "": as many as the quota has CPUs."""
    return cpus() if value == "" else whole_number(1, 4096)(value)


def read_light(value: object) -> int | None:
    """Return a number of slots, None for ""."""
    return None if value == "" else whole_number(0, 4096)(value)


def read_bound(value: object) -> int:
    """Return bytes that are not to be passed, 0 for ""."""
    return 0 if value == "" else size_bytes(value)


def duration_from(least_ms: int) -> Callable[[Any], int]:
    """Return a reader of durations that are no shorter, in milliseconds."""

    def read(value: object) -> int:
        found = duration_ms(value, is_outside=True)
        if found < least_ms:
            raise BadSetting(f"{value!r:.80} is too short: give {least_ms} ms or more")
        return found

    return read


def read_limit(value: object) -> int:
    """Return milliseconds of a time limit, 0 for ""."""
    return 0 if value == "" else duration_from(0)(value)


def payload_cap(value: object) -> int:
    """Return the cap of a payload or result in bytes."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    found = size_bytes(number)
    if not _BYTES_FLOOR <= found <= _BYTES_CEILING:
        raise BadSetting(f"{value!r:.80} is not allowed: give 1KiB to 16MiB")
    return found


def read_secret_keys(value: object) -> SecretKeys:
    """Return keys of secret arguments."""
    if not isinstance(value, str):
        raise BadSetting(f"it is {type(value).__name__} and no text; its value is not shown")
    return SecretKeys.parse(value)


def one_of(*words: str) -> Callable[[Any], str]:
    """Return a reader of one of these words."""

    def read(value: object) -> str:
        if value in words:
            return str(value)
        raise BadSetting(f"{value!r:.80} is unknown: use one of {', '.join(words)}")

    return read


def read_worker_name(value: object) -> str:
    """Return the name of a worker, "" for ""."""
    return "" if value == "" else check_name("worker", value)
