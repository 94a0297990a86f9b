"""The name of a task that does not give itself one, and other facts read off a function."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.core.names import check_name
from penstock.errors import BadSetting


def task_name(function: Callable[..., Any], given: str | None) -> str:
    """Return `given`, else "module.qualname" of the function.

    A script's module is named by its file, since `__main__` is another module in the worker. A
    function inside a function goes without the `<locals>` part.

    Raises:
        BadSetting: the name breaks the rule for names, or this is not a function.
    """
    if not hasattr(function, "__qualname__") or isinstance(function, type):
        raise BadSetting(f"{function!r:.80} is not a function: decorate a `def` or an `async def`")
    plain = inspect.unwrap(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise BadSetting(
            f"{function.__qualname__} is a generator, and a job has one result: return a list, or "
            "enqueue a job per item"
        )
    if given is not None:
        return check_name("task", given)
    name = f"{_module(function)}.{function.__qualname__.replace('.<locals>', '')}"
    try:
        return check_name("task", name)
    except BadSetting as error:
        raise BadSetting(f"{error}; or give the task a name of its own: name='...'") from None


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Return whether calling the function gives a coroutine, also below decorators."""
    return inspect.iscoroutinefunction(inspect.unwrap(function))


def _module(function: Callable[..., Any]) -> str:
    if function.__module__ != "__main__":
        return function.__module__
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        # python -m package.module
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"
