"""Tasks of libraries, which know no app: `@library_task`, taken in by `app.include(module)`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Unpack, overload

from penstock.task import AsyncTask, P, R, SyncTask, TaskDecorator
from penstock.tasks import builder
from penstock.tasks.options import TaskOptions


@overload
def library_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]


@overload
def library_task(function: Callable[P, R], /) -> SyncTask[P, R]: ...


@overload
def library_task(**options: Unpack[TaskOptions]) -> TaskDecorator: ...


def library_task(function: Any = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function in a package that leaves the choice of app to its users.

    Until an app includes it, the task can be called but not enqueued. With `@app.task` it shares
    options and typing.

    Raises:
        BadSetting: an option breaks its rule.
    """
    return builder.decorate(function, options, lambda task: task, is_library=True)
