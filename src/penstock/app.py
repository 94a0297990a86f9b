"""The app: a registry of tasks and the way to one broker. Cheap to make; connects at first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, overload

from penstock.client.client import Client
from penstock.core.ids import check_job_id
from penstock.core.manifest import AppManifest
from penstock.errors import WrongContext
from penstock.job import Job
from penstock.task import AsyncTask, Call, Home, P, R, SyncTask, Task, TaskDecorator
from penstock.tasks import builder
from penstock.tasks.command import command_function
from penstock.tasks.loading import Includes
from penstock.tasks.manifest import manifest_of
from penstock.tasks.options import TaskOptions
from penstock.tasks.registry import Registry
from penstock.tasks.routing import Routing
from penstock.telemetry.events import EventSinks

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from penstock.broker.protocol import Broker, CallerConnection, Enqueuer
    from penstock.broker.requests import Durability
    from penstock.config.resolve import Config
    from penstock.middleware import Middleware
    from penstock.serializers.sealing import Sealer
    from penstock.telemetry.events import EventSink

Hook = Callable[[], Any]
"""Runs in each runner and child: a function, or a coroutine function."""
H = TypeVar("H", bound=Hook)
M = TypeVar("M", bound="Middleware")
S = TypeVar("S", bound="EventSink")
AnyTask = TypeVar("AnyTask", bound=Task[..., Any])


class App:
    """Tasks, hooks and middleware, and one broker.

    Making an app reads nothing and connects nowhere. At the first enqueue it resolves its settings
    (`config.resolve`: environment, files) and opens the broker; in a fork the broker starts anew.

    Args:
        url: broker; None: PENSTOCK_URL, the settings file, or penstock.db beside the nearest
            penstock.toml or pyproject.toml.
        include: modules that hold tasks, imported when a worker loads the app.
        settings: values of this app, by name (`penstock config` lists all); they win over the
            environment and files, flags win over them.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        include: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.registry = Registry()
        given = {"url": url, **(settings or {})}
        self._given = {name: value for name, value in given.items() if value is not None}
        self._config: Config | None = None
        self._includes = Includes(include)
        self._start_hooks: list[Hook] = []
        self._stop_hooks: list[Hook] = []
        self._middleware: list[Middleware] = []
        self.event_sinks = EventSinks()
        self.client = Client(self._open_broker, self.event_sinks, lambda: self.config.settings)

    def __repr__(self) -> str:
        return f"<App of {len(self.registry)} tasks>"

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]

    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...

    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...

    def task(self, function: Any = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Register a function as a task; with and without parentheses, for def and async def.

        The decorated function can still be called as before: that runs it here and now.

        Args:
            function: filled in by Python where there are no parentheses.
            **options: see `TaskOptions`.

        Raises:
            BadSetting: an option breaks its rule, or the name is taken by another function.
        """
        return builder.decorate(function, options, self._adopt)

    def command(
        self, name: str, arguments: Sequence[str], /, **options: Unpack[TaskOptions]
    ) -> SyncTask[..., str]:
        """Register a program as a task; its jobs run in children, its output is their result.

        Args:
            name: of the task.
            arguments: the program and its arguments; `{path}` is a parameter of the task.
            **options: see `TaskOptions`.

        Raises:
            BadSetting: as `task`; or an argument holds more than text and plain `{names}`.
        """
        whole = cast("TaskOptions", {**options, "name": name, "isolation": "process"})
        task: SyncTask[..., str] = self.task(**whole)(command_function(name, arguments))
        return task

    def _adopt(self, task: AnyTask) -> AnyTask:
        self.registry.add(task.home.registration)
        task.home.apps.append(self)
        return task

    def include(self, *modules: ModuleType | Task[..., Any]) -> None:
        """Make library tasks (`@library_task`) known to this app.

        Args:
            *modules: imported modules, whose library tasks are all taken, or single tasks.

        Raises:
            BadSetting: a module has no library task, or a name is taken.
        """
        for task in builder.library_tasks(modules):
            if self not in task.home.apps:
                self._adopt(task)

    def bound(self, task: AnyTask) -> AnyTask:
        """Return the task as this app's, for library tasks that several apps include."""
        home = Home(task.home.registration)
        home.apps.append(self)
        bound: AnyTask = task.moved(home)
        return bound

    def autodiscover(self, *packages: str) -> None:
        """Name packages whose modules `tasks`, at any depth, are imported when a worker loads."""
        self._includes.discover(packages)

    def load(self) -> None:
        """Import the included and discovered modules. Workers call it; importing again is free.

        Raises:
            UsageError: a module cannot be found or imports nothing that could be a task.
        """
        self._includes.load()

    def on_runner_start(self, hook: H) -> H:
        """Run `hook` in each runner and child before it takes its first job; also as decorator."""
        self._start_hooks.append(hook)
        return hook

    def on_runner_stop(self, hook: H) -> H:
        """Run `hook` in each runner and child after its last job; also as decorator."""
        self._stop_hooks.append(hook)
        return hook

    def middleware(self, middleware: M) -> M:
        """Put `middleware` around every attempt, inside those added before; also as decorator."""
        self._middleware.append(middleware)
        return middleware

    def add_event_sink(self, sink: S) -> S:
        """Tell `sink` what happens to jobs (`telemetry.events`); also as decorator.

        It is called at once, in the thread of the event, and must not block. It is told of jobs
        enqueued by any process that uses this app, and of attempts in runners; others are settled
        by the supervisor, which runs no user code. What it raises is logged once.
        """
        self.event_sinks.add(sink)
        return sink

    @property
    def start_hooks(self) -> tuple[Hook, ...]:
        """Hooks to run before the first job, in this order."""
        return tuple(self._start_hooks)

    @property
    def stop_hooks(self) -> tuple[Hook, ...]:
        """Hooks to run after the last job, in this order: the reverse of their registration."""
        return tuple(reversed(self._stop_hooks))

    @property
    def middlewares(self) -> tuple[Middleware, ...]:
        """What is put around attempts, outermost first."""
        return tuple(self._middleware)

    @property
    def config(self) -> Config:
        """The settings with their origins, resolved at the first use.

        Raises:
            BadSetting: a setting breaks its rule.
        """
        if self._config is None:
            from penstock.config import resolve

            config = resolve.load(app=self._given)
            self.registry.follow(Routing(config.tables))
            self._config = config
        return self._config

    @property
    def location(self) -> str:
        """Where the jobs are: the absolute path of the file, or the URL without its password."""
        from penstock.connect import location

        return location(self.config.settings.url)

    @property
    def broker(self) -> Broker:
        """The broker's sync face, opened now if need be. For inspection and operators' verbs."""
        return self.client.broker

    def job(self, job_id: str) -> Job[Any]:
        """Return the handle of a job by its id; its result is read as plain JSON.

        Raises:
            BadSetting: not a job id. Whether there is such a job is asked at the first use.
        """
        return Job(check_job_id(job_id), self.client)

    def enqueue_many(
        self,
        calls: Iterable[Call[R]],
        *,
        durability: Durability | str | None = None,
        connection: CallerConnection | None = None,
    ) -> list[Job[R]]:
        """Enqueue calls and return their handles, in order; parents may stand before children.

        Args:
            calls: `task.call(...)`; of one task or of several.
            durability: class for calls that do not ask for one themselves.
            connection: as in `CallOptions`, for all of them.

        Raises:
            EnqueueRefused: some were refused; it carries the accepted ones and the errors.
            BadSetting, WrongContext, Unavailable, OutcomeUnknown: as `Task.enqueue`, for all.

        Cost: one round trip per 500.
        """
        if connection is not None:
            from penstock.client.joined import enqueue_in

            return enqueue_in(self.client, connection, list(calls), durability)
        return self.client.enqueue_many(calls, builder.durability(durability))

    async def aenqueue_many(
        self,
        calls: Iterable[Call[R]],
        *,
        durability: Durability | str | None = None,
        connection: CallerConnection | None = None,
    ) -> list[Job[R]]:
        """Enqueue calls as `enqueue_many` does, without blocking the event loop."""
        if connection is not None:
            from penstock.client.joined import aenqueue_in

            return await aenqueue_in(self.client, connection, list(calls), durability)
        return await self.client.aenqueue_many(calls, builder.durability(durability))

    def install_enqueuer(self, enqueuer: Enqueuer | None, *, sealer: Sealer | None = None) -> None:
        """Send everything through `enqueuer` from now on; None: to the app's own broker again.

        A worker's runner shares its connection, its child enqueues over a pipe, a sandbox keeps
        jobs in memory. Secrets are sealed by `sealer`, else under the keys of the settings.
        """
        self.client.attach(enqueuer, sealer=sealer)

    def manifest(self) -> AppManifest:
        """Return what a supervisor must know of the app, as data."""
        return manifest_of(self.config, self.registry, self._given)

    def close(self) -> None:
        """Close the app's connections in this process; the next use opens them again."""
        self.client.close()

    def _open_broker(self) -> Broker:
        from penstock.config import resolve
        from penstock.connect import connect_as

        if resolve.is_child():
            raise WrongContext(
                "a child process holds no broker credentials and may not connect: enqueue through "
                "the tasks of the worker's own app"
            )
        return connect_as(self.config.settings)
