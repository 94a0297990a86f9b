"""`[queues.*]` and `[routes]`: what holds for the jobs of a queue, and which tasks go where.

Options of a queue and of a route are those of a task, with the same names, values and rules: they
are checked by the same code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, cast

import msgspec

from penstock.core.names import check_name
from penstock.errors import BadSetting

#: Options of a task that a queue or a route may give too. What names functions or other tasks can
#: only stand in the program.
OPTIONS: Final = (
    "priority", "memory", "cpus", "gpu", "gpu_memory", "requires", "resources", "timeout",
    "soft_timeout", "retries", "oom_retries", "backoff", "expires", "result_ttl", "isolation",
    "light",
)  # fmt: skip
#: Jobs of one queue at a time in one worker; beyond it a number is a mistake.
CONCURRENCY_MAX: Final = 100_000


class QueueTable(msgspec.Struct, frozen=True, kw_only=True):
    """One `[queues.<name>]`.

    Attributes:
        concurrency: jobs of the queue that a worker made for it runs at a time; None: not said.
        options: of its jobs, by the names of task options; the weakest but for the settings.
    """

    concurrency: int | None = None
    options: Mapping[str, Any] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `[routes]`.

    Attributes:
        pattern: of task names, with `*`, `?` and `[...]`; upper and lower case differ.
        options: `queue`, and others by the names of task options.
    """

    pattern: str
    options: Mapping[str, Any] = {}

    def matches(self, task: str) -> bool:
        """Return whether a task of this name goes this way."""
        return fnmatchcase(task, self.pattern)


def read_queues(where: str, table: Mapping[str, Any]) -> dict[str, QueueTable]:
    """Return the queues of `[queues]` by name. Raises BadSetting."""
    found = {}
    for name, values in table.items():
        place = f"[queues.{name:.80}] of {where}"
        try:
            check_name("queue", name)
        except BadSetting as error:
            raise BadSetting(f"{place}: {error}") from error
        if not isinstance(values, Mapping):
            raise BadSetting(
                f"{name:.80} in [queues] of {where} is {values!r:.80}, and no table: write "
                f"[queues.{name:.80}] above its keys"
            )
        options = dict(values)
        concurrency = options.pop("concurrency", None)
        if concurrency is not None:
            check_whole(f"concurrency in {place}", concurrency, 1, CONCURRENCY_MAX)
        found[name] = QueueTable(
            concurrency=concurrency, options=_options(place, options, also=("concurrency",))
        )
    return found


def read_routes(where: str, table: Mapping[str, Any]) -> tuple[Route, ...]:
    """Return the routes in the order of the file; the name of a queue alone stands for it."""
    place = f"[routes] of {where}"
    found = []
    for pattern, value in table.items():
        options = {"queue": value} if isinstance(value, str) else value
        if not isinstance(options, Mapping) or not options:
            raise BadSetting(
                f"{pattern!r:.80} in {place} is {value!r:.80}: give the name of a queue, or a "
                'table such as { queue = "heavy", priority = 7 }'
            )
        read = _options(f"{pattern!r:.80} in {place}", options, also=("queue",))
        found.append(Route(pattern=pattern, options=read))
    return tuple(found)


def check_whole(what: str, value: object, least: int, most: int) -> int:
    """Return a whole number within bounds.

    Raises:
        BadSetting: it is none; `what` names its key and its place.
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise BadSetting(
        f"{what} is {value!r:.80}, which is not allowed: give a whole number from {least} to {most}"
    )


def unknown(what: str, place: str, known: Iterable[str]) -> BadSetting:
    """Return the error for a key that is not known."""
    names = sorted(known)
    near = difflib.get_close_matches(what.lower().replace("-", "_"), names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}"
    return BadSetting(f"key {what!r:.80} in {place} is unknown: {hint}")


def _options(place: str, given: Mapping[str, Any], *, also: tuple[str, ...]) -> dict[str, Any]:
    """Return checked options, as they were written."""
    # Only where there are tables: a supervisor without them need not know how tasks are made.
    from penstock.tasks.builder import registration_fields
    from penstock.tasks.options import TaskOptions

    known = {*also, *(name for name in OPTIONS if name in TaskOptions.__annotations__)}
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise unknown(name, place, known)
        try:
            options[name] = _backoff(value) if name == "backoff" else value
            registration_fields(cast("TaskOptions", {name: options[name]}))
        except BadSetting as error:
            raise BadSetting(f"{name} in {place}: {error}") from error
    try:
        registration_fields(cast("TaskOptions", options))
    except BadSetting as error:
        raise BadSetting(f"{place}: {error}") from error
    return options


def _backoff(value: object) -> Any:
    """Return `backoff = { base = "60s", cap = "1h", jitter = "none" }` as the program has it."""
    from penstock.core.retry import Exponential

    known = ("base", "cap", "jitter")
    if not isinstance(value, Mapping) or not value or not all(key in known for key in value):
        raise BadSetting(
            f'{value!r:.80} is not allowed: give a table such as {{ base = "2s", cap = "15min", '
            'jitter = "full" }'
        )
    return Exponential(**value)
