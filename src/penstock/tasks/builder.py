"""From a decorated function to a task: options checked, name found, registration made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, TypeVar, cast

import msgspec

from penstock.broker.requests import Durability
from penstock.core.job import PRIORITY_DEFAULT
from penstock.core.names import check_name
from penstock.core.partition import OnPartition
from penstock.core.retry import (
    BACKOFF_DEFAULT,
    OOM_RETRIES_DEFAULT,
    RETRIES_DEFAULT,
    Backoff,
    RetryPolicy,
)
from penstock.core.units import duration_ms
from penstock.errors import BadSetting
from penstock.task import AsyncTask, Home, SyncTask, Task
from penstock.tasks.asked import (
    KEY_WINDOW_MS,
    QUEUE_DEFAULT,
    check_durability,
    check_exceptions,
    check_memory,
    check_oom_retries,
    check_priority,
    check_retries,
)
from penstock.tasks.demand_options import CHECKS, demand_from
from penstock.tasks.naming import is_coroutine_function, task_name
from penstock.tasks.on_dead import ARGUMENTS
from penstock.tasks.options import Isolation, TaskOptions
from penstock.tasks.registry import Limits, Registration
from penstock.tasks.signature import Signature

AnyTask = TypeVar("AnyTask", bound=Task[..., Any])


def decorate(
    function: Callable[..., Any] | None,
    options: TaskOptions,
    adopt: Callable[[Task[..., Any]], Task[..., Any]],
    *,
    is_library: bool = False,
) -> Any:
    """Return the task of `function`, or a decorator where it is still to come."""
    if function is not None:
        return adopt(make(function, options, is_library=is_library))
    # Options are checked where they stand, not where the function comes.
    defaults = registration_fields(options)
    return lambda decorated: adopt(make(decorated, options, defaults, is_library=is_library))


def make(
    function: Callable[..., Any],
    options: TaskOptions,
    fields: Mapping[str, Any] | None = None,
    *,
    is_library: bool = False,
) -> Task[..., Any]:
    """Return a task that belongs to no app yet.

    Raises:
        BadSetting: an option breaks its rule.
    """
    name = task_name(function, options.get("name"))
    is_async = is_coroutine_function(function)
    checked = registration_fields(options) if fields is None else fields
    _check_isolation(name, checked, is_async=is_async)
    registration = Registration(
        name=name,
        function=function,
        is_async=is_async,
        signature=Signature(name, function),
        options={option: value for option, value in options.items() if value is not None},
        **checked,
    )
    kind = AsyncTask if is_async else SyncTask
    return kind(Home(registration, is_library=is_library))


def outfitted(registration: Registration, options: Mapping[str, Any]) -> Registration:
    """Return a task with other options than it was declared with.

    Raises:
        BadSetting: an option breaks its rule.
    """
    fields = registration_fields(cast("TaskOptions", options))
    _check_isolation(registration.name, fields, is_async=registration.is_async)
    return msgspec.structs.replace(registration, options=options, **fields)


def _check_isolation(name: str, fields: Mapping[str, Any], *, is_async: bool) -> None:
    if is_async and fields["isolation"] == "thread":
        raise BadSetting(
            f"task {name}: isolation='thread' is for plain functions; an `async def` runs in an "
            "event loop, or in a child with isolation='process'"
        )


def registration_fields(options: TaskOptions) -> dict[str, Any]:
    """Return the fields of a registration that options decide, checked.

    Raises:
        BadSetting: an option is unknown or breaks its rule.
    """
    for option in options:
        if option not in TaskOptions.__annotations__:
            known = ", ".join(TaskOptions.__annotations__)
            raise BadSetting(f"option {option!r} of a task is unknown: use one of {known}")
    memory, on_partition = options.get("memory"), _on_partition(options)
    key_window, queue = options.get("key_window"), options.get("queue")
    return {
        "aliases": tuple(check_name("task", alias) for alias in options.get("aliases", ())),
        "queue": QUEUE_DEFAULT if queue is None else check_name("queue", queue),
        "priority": _or(options.get("priority"), check_priority, PRIORITY_DEFAULT),
        "expires_ms": _duration(options, "expires"),
        "result_ttl_ms": _duration(options, "result_ttl"),
        "key_window_ms": (
            KEY_WINDOW_MS if key_window is None else duration_ms(key_window, name="key_window")
        ),
        "policy": RetryPolicy(
            retries=_or(options.get("retries"), check_retries, RETRIES_DEFAULT),
            backoff=_backoff(options),
            oom_retries=_or(options.get("oom_retries"), check_oom_retries, OOM_RETRIES_DEFAULT),
        ),
        "limits": _limits(options),
        "isolation": "process" if on_partition == "kill" else _isolation(options),
        "on_partition": on_partition,
        "memory_bytes": None if memory is None else check_memory(memory),
        "memory_auto": memory == "auto",
        "demand": demand_from(options),
        "size_of": _size_of(options),
        "light": _light(options),
        "retry_on": check_exceptions("retry_on", options.get("retry_on", ())),
        "discard_on": check_exceptions("discard_on", options.get("discard_on", ())),
        "on_dead": _on_dead(options),
    }


def library_tasks(found: Iterable[ModuleType | Task[..., Any]]) -> Iterator[Task[..., Any]]:
    """Yield the tasks among `found`, and the library tasks of the modules among it.

    Raises:
        BadSetting: a module has none.
    """
    for one in found:
        if isinstance(one, Task):
            yield one
            continue
        tasks = [value for value in vars(one).values() if isinstance(value, Task)]
        if not tasks:
            raise BadSetting(
                f"module {one.__name__} has no library task: decorate its functions with "
                "@library_task"
            )
        yield from (task for task in tasks if task.home.is_library)


def durability(value: Durability | str | None) -> Durability | None:
    """Return a durability class, None for None. Raises BadSetting."""
    return None if value is None else check_durability(value)


def _size_of(options: TaskOptions) -> Callable[..., float] | None:
    size = options.get("size")
    if size is None or callable(size):
        return size
    raise BadSetting(
        f"size {size!r:.80} of a task is no function: give one that takes the task's arguments, or "
        "a number for one call, .using(size=...)"
    )


def _or(value: Any, check: Callable[[object], int], default: int) -> int:
    return default if value is None else check(value)


def _duration(options: TaskOptions, name: str) -> int | None:
    value = options.get(name)
    return None if value is None else duration_ms(value, name=name)


def _limits(options: TaskOptions) -> Limits:
    hard, soft = _duration(options, "timeout"), _duration(options, "soft_timeout")
    if hard and soft and soft >= hard:
        raise BadSetting(
            f"soft_timeout {options.get('soft_timeout')!r} is not under timeout "
            f"{options.get('timeout')!r}: the hard limit would always come first; lower the soft "
            "one or raise the hard one"
        )
    return Limits(timeout_ms=hard, soft_timeout_ms=soft)


def _backoff(options: TaskOptions) -> Backoff:
    value = options.get("backoff")
    if value is None:
        return BACKOFF_DEFAULT
    if not isinstance(value, Backoff):
        raise BadSetting(f"backoff {value!r:.80} is not allowed: give Exponential(base=...)")
    return value


def _isolation(options: TaskOptions) -> Isolation | None:
    value = options.get("isolation")
    if value not in (None, "process", "thread"):
        raise BadSetting(f"isolation {value!r:.80} is unknown: use 'process' or 'thread'")
    if value == "thread" and options.get("memory") is not None:
        raise BadSetting(
            "isolation='thread' and memory= exclude each other: the memory of one job can only be "
            "measured and limited in a child of its own"
        )
    taken = [name for name in CHECKS if options.get(name) is not None]
    if value == "thread" and taken:
        raise BadSetting(
            f"isolation='thread' and {taken[0]}= exclude each other: what is set aside for one job "
            "is held by a child of its own"
        )
    return value


def _on_partition(options: TaskOptions) -> OnPartition:
    exclusive, value = options.get("exclusive"), options.get("on_partition")
    if exclusive not in (None, True, False):
        raise BadSetting(f"exclusive {exclusive!r:.80} is not allowed: use True or False")
    if value not in (None, "continue", "kill"):
        raise BadSetting(f"on_partition {value!r:.80} is unknown: use 'continue' or 'kill'")
    if exclusive and value == "continue":
        raise BadSetting(
            "exclusive=True and on_partition='continue' exclude each other: a job that goes on "
            "while its worker is cut off can run beside its next attempt; leave on_partition out"
        )
    if not exclusive and value != "kill":
        return "continue"
    if _isolation(options) == "thread":
        asked = "exclusive=True" if exclusive else "on_partition='kill'"
        raise BadSetting(
            f"isolation='thread' and {asked} exclude each other: a thread cannot be killed without "
            "its neighbours; leave isolation out, and the job runs alone in a child"
        )
    return "kill"


def _light(options: TaskOptions) -> bool | None:
    value = options.get("light")
    if value not in (None, True, False):
        raise BadSetting(f"light {value!r:.80} is not allowed: use True, False or None")
    return value


def _on_dead(options: TaskOptions) -> str | None:
    value = options.get("on_dead")
    if value is None:
        return None
    if not isinstance(value, Task):
        return check_name("task", value)
    missing = [name for name in ARGUMENTS if not value.home.registration.signature.accepts(name)]
    if missing:
        raise BadSetting(
            f"on_dead task {value.name} does not take {', '.join(missing)}: it is enqueued with "
            f"the arguments {', '.join(ARGUMENTS)}"
        )
    return value.name
