"""The options of a call, checked once and turned into milliseconds and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from penstock.broker.requests import Durability
from penstock.core.job import PRIORITY_MAX, Parent
from penstock.core.names import check_key, check_name
from penstock.core.units import duration_ms, size_bytes
from penstock.errors import BadSetting
from penstock.job import After, Job, parent_of
from penstock.tasks import demand_options

#: Where jobs go unless the task or the call says otherwise.
QUEUE_DEFAULT: Final = "default"
#: Further attempts that may be asked for; more is a mistake, or a schedule in disguise.
RETRIES_MAX: Final = 1_000
#: Further attempts with more memory: the eighth asks for 25 times as much as the first.
OOM_RETRIES_MAX: Final = 8
#: Tags of one job: they find jobs, they do not store facts.
TAGS_MAX: Final = 16
#: Window in which an idempotency key is unique, milliseconds: one day (design: public API).
KEY_WINDOW_MS: Final = 86_400_000
#: Parents of one job; they are written and looked up in one atomic step.
PARENTS_MAX: Final = 1_000


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Checked options of a call; None: the task's own, or none.

    Attributes:
        due_at: instant in milliseconds since 1970.
        memory_bytes: declared reservation; with `memory_auto` the reservation is learned.
        cpus_milli, labels, resources, gpus, gpu_memory_bytes: as in `Demand`.
    """

    queue: str | None = None
    priority: int | None = None
    delay_ms: int | None = None
    due_at: int | None = None
    expires_ms: int | None = None
    timeout_ms: int | None = None
    soft_timeout_ms: int | None = None
    retries: int | None = None
    key: str | None = None
    parents: tuple[Parent, ...] = ()
    tenant: str | None = None
    memory_bytes: int | None = None
    memory_auto: bool = False
    size: float | None = None
    cpus_milli: int | None = None
    labels: tuple[str, ...] | None = None
    resources: tuple[tuple[str, int], ...] | None = None
    gpus: int | None = None
    gpu_memory_bytes: int | None = None
    tags: tuple[str, ...] = ()
    triggered_by: str | None = None
    result_ttl_ms: int | None = None
    durability: Durability | None = None


def ask(asked: Asked, options: Mapping[str, Any]) -> Asked:
    """Return `asked` with the options of one `.using(...)` laid over it.

    Raises:
        BadSetting: an option is unknown, or its value breaks its rule.
    """
    changes: dict[str, Any] = {}
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            known = ", ".join(_CHECKS)
            raise BadSetting(f"option {name!r} is unknown: use one of {known}")
        field, read, nothing = check
        changes[field] = nothing if value is None else read(value)
    if "memory" in options:
        changes["memory_auto"] = options["memory"] == "auto"
        if changes["memory_auto"]:
            changes["memory_bytes"] = None
    merged = msgspec.structs.replace(asked, **changes)
    if merged.delay_ms is not None and merged.due_at is not None:
        raise BadSetting("delay and run_at are both given: a job is due once, give one of them")
    return merged


def check_priority(value: object) -> int:
    """Return a priority, 0..10.

    Raises:
        BadSetting: it is not.
    """
    return _whole("priority", value, PRIORITY_MAX, "0 is last, 10 is first")


def check_retries(value: object) -> int:
    """Return a number of further attempts.

    Raises:
        BadSetting: not a whole number from 0 to `RETRIES_MAX`.
    """
    return _whole("retries", value, RETRIES_MAX, "attempts after the first")


def check_oom_retries(value: object) -> int:
    """Return a number of further attempts after those that ran out of memory.

    Raises:
        BadSetting: not a whole number from 0 to `OOM_RETRIES_MAX`.
    """
    return _whole("oom_retries", value, OOM_RETRIES_MAX, "attempts, each with half as much again")


def check_memory(value: object) -> int | None:
    """Return a reservation in bytes, None for "auto".

    Raises:
        BadSetting: neither "auto" nor a size above 0.
    """
    if value == "auto":
        return None
    reservation = size_bytes(value, name="memory")
    if reservation == 0:
        raise BadSetting(f"memory {value!r} is no reservation: give a size above 0, or 'auto'")
    return reservation


def check_durability(value: object) -> Durability:
    """Return a durability class.

    Raises:
        BadSetting: there is no such class.
    """
    if not isinstance(value, str) or value not in set(Durability):
        known = ", ".join(Durability)
        raise BadSetting(f"durability {value!r:.80} is unknown: use one of {known}")
    return Durability(value)


def check_exceptions(option: str, value: object) -> tuple[type[Exception], ...]:
    """Return exception classes given alone or as a sequence.

    Raises:
        BadSetting: something else than a subclass of Exception is among them.
    """
    found = tuple(value) if isinstance(value, Sequence) else (value,)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise BadSetting(f"{option} {one!r:.80} is not allowed: give subclasses of Exception")
    return found


def _whole(name: str, value: object, highest: int, meaning: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest:
        return value
    raise BadSetting(
        f"{name} {value!r:.80} is not allowed: give a whole number from 0 to {highest} ({meaning})"
    )


def _instant_ms(value: object) -> int:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise BadSetting(
            f"run_at {value!r} is not an instant: give a datetime with a time zone, for example "
            "datetime.now(UTC) + timedelta(hours=1)"
        )
    return max(0, round(value.timestamp() * 1000))


def _parents(
    value: Job[Any] | After | str | Sequence[Job[Any] | After | str],
) -> tuple[Parent, ...]:
    several = [value] if isinstance(value, str | Job | After) else list(value)
    if len(several) > PARENTS_MAX:
        raise BadSetting(
            f"after names {len(several)} jobs, {PARENTS_MAX} at most: put a job between that "
            "waits for a part of them"
        )
    return tuple(parent_of(one) for one in several)


def _tags(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > TAGS_MAX:
        raise BadSetting(f"tags {value!r:.80} are not allowed: give a list of up to {TAGS_MAX}")
    return tuple(check_name("tag", tag) for tag in value)


def check_size(value: object) -> float:
    """Return a size in any unit.

    Raises:
        BadSetting: no number, or a negative one.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63:
        return float(value)
    raise BadSetting(f"size {value!r:.80} is not allowed: give a number from 0 up, in any one unit")


def _duration(name: str) -> Callable[[Any], int]:
    return lambda value: duration_ms(value, name=name)


def _name(kind: str) -> Callable[[Any], str]:
    return lambda value: check_name(kind, value)


#: Option -> field of `Asked`, how its value is checked, and what None means.
_CHECKS: Final[Mapping[str, tuple[str, Callable[[Any], Any], Any]]] = {
    "queue": ("queue", _name("queue"), None),
    "priority": ("priority", check_priority, None),
    "delay": ("delay_ms", _duration("delay"), None),
    "run_at": ("due_at", _instant_ms, None),
    "expires": ("expires_ms", _duration("expires"), None),
    "timeout": ("timeout_ms", _duration("timeout"), None),
    "soft_timeout": ("soft_timeout_ms", _duration("soft_timeout"), None),
    "retries": ("retries", check_retries, None),
    "key": ("key", check_key, None),
    "after": ("parents", _parents, ()),
    "tenant": ("tenant", _name("tenant"), None),
    "memory": ("memory_bytes", check_memory, None),
    "size": ("size", check_size, None),
    **{name: (field, check, None) for name, (field, check) in demand_options.CHECKS.items()},
    "tags": ("tags", _tags, ()),
    "triggered_by": ("triggered_by", _name("triggered_by"), None),
    "result_ttl": ("result_ttl_ms", _duration("result_ttl"), None),
    "durability": ("durability", check_durability, None),
}
