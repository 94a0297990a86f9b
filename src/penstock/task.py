"""A task as its users see it: call it, enqueue it, or enqueue it with other options.

Typing: `Task[P, R]` knows the parameters and what a job of it returns; a direct call is typed by
its two kinds, `SyncTask` (returns R) and `AsyncTask` (returns an awaitable of R).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from penstock.client.builder import Plan
from penstock.errors import WrongContext
from penstock.tasks.asked import Asked, ask

if TYPE_CHECKING:
    from typing import Self

    from penstock.app import App
    from penstock.broker.protocol import CallerConnection
    from penstock.client.client import Client
    from penstock.job import Job
    from penstock.tasks.options import CallOptions
    from penstock.tasks.registry import Registration

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Home:
    """Where a task belongs: its registration, and the apps that know it.

    A task of `@app.task` belongs to that app; a library task to each app that includes it.
    """

    __slots__ = ("apps", "is_library", "registration")

    def __init__(self, registration: Registration, *, is_library: bool = False) -> None:
        self.registration = registration
        self.is_library = is_library
        self.apps: list[App] = []

    def client(self) -> Client:
        """Return the client through which jobs of the task go.

        Raises:
            WrongContext: no app knows the task, or several do.
        """
        if len(self.apps) == 1:
            return self.apps[0].client
        name = self.registration.name
        if not self.apps:
            raise WrongContext(
                f"task {name} belongs to no app yet: call app.include(...) with its module first"
            )
        raise WrongContext(
            f"task {name} belongs to {len(self.apps)} apps: say which, with "
            "app.bound(task).enqueue(...)"
        )


class Task(Generic[P, R_co]):
    """A registered function with the options of its calls. Immutable: `using` returns another.

    Attributes:
        home: its registration and the apps that know it.
    """

    def __init__(
        self,
        home: Home,
        asked: Asked | None = None,
        connection: CallerConnection | None = None,
    ) -> None:
        registration = home.registration
        self.home = home
        self._connection = connection
        self._asked = Asked() if asked is None else asked
        self._plan: Plan | None = None
        # Documentation tools and functools.wraps look for these.
        function = self.__wrapped__ = registration.function
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @property
    def name(self) -> str:
        """The registered name."""
        return self.home.registration.name

    def using(self, **options: Unpack[CallOptions]) -> Self:
        """Return the same task with other options for its calls; see `CallOptions`.

        Options add up over several `using`; the last word wins.

        Raises:
            BadSetting: an option is unknown or its value breaks its rule.
        """
        connection = options.pop("connection", self._connection)
        return type(self)(self.home, ask(self._asked, options), connection)

    def moved(self, home: Home) -> Self:
        """Return the same task and options with another home."""
        return type(self)(home, self._asked, self._connection)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Return the call as a value, for `app.enqueue_many`; the arguments are written now.

        Raises:
            BadArguments: the arguments do not fit the signature or its annotations.
            SerializationError: JSON cannot hold an argument.
            WrongContext: the task has a connection, which a value cannot have.
        """
        if self._connection is not None:
            raise WrongContext(
                f"a call of {self.name} is a value and has no connection: give it to "
                "app.enqueue_many(..., connection=...)"
            )
        return Call(self._plan or self._planned(), args, kwargs)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Enqueue a job; it is stored when this returns, as its `durability` says.

        Raises:
            BadArguments: the arguments do not fit the signature or its annotations.
            SerializationError: JSON cannot hold an argument.
            PayloadTooLarge: larger than payload_bytes_max.
            DuplicateKey: the key belongs to a job with other arguments.
            JobNotFound: a parent is unknown.
            QueueFull: the queue refuses more jobs.
            Unavailable: definite: nothing was stored; calling again is safe.
            OutcomeUnknown: it may be stored; calling again makes a second job unless a `key` is
                given.
            WrongContext: the task belongs to no app or to several; or this is a child.
        """
        call: Call[R_co] = Call(self._plan or self._planned(), args, kwargs)
        if self._connection is None:
            return self.home.client().enqueue(call)
        from penstock.client.joined import enqueue_in

        [job] = enqueue_in(self.home.client(), self._connection, [call])
        return job

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Enqueue a job as `enqueue` does; concurrent calls share a round trip by themselves.

        When the caller is cancelled while it waits, the job may be stored all the same.
        """
        call: Call[R_co] = Call(self._plan or self._planned(), args, kwargs)
        if self._connection is None:
            return await self.home.client().aenqueue(call)
        from penstock.client.joined import aenqueue_in

        [job] = await aenqueue_in(self.home.client(), self._connection, [call])
        return job

    def _planned(self) -> Plan:
        """Return the plan of all calls; made at the first, since it needs the settings file.

        Raises:
            BadSetting: a setting breaks its rule.
        """
        home = self.home
        if not home.apps:
            return Plan.of(home.registration, self._asked)
        from penstock.tasks.routing import routed

        # A library task of several apps: they read the same file.
        self._plan = Plan.of(*routed(home.apps[0], home.registration, self._asked))
        return self._plan


class SyncTask(Task[P, R]):
    """A task made of a plain function; calling it runs the function here and now."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now; nothing is enqueued."""
        result: R = self.home.registration.function(*args, **kwargs)
        return result


class AsyncTask(Task[P, R]):
    """A task made of a coroutine function; calling it gives its coroutine."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Return the function's coroutine, to be awaited here; nothing is enqueued."""
        coroutine: Coroutine[Any, Any, R] = self.home.registration.function(*args, **kwargs)
        return coroutine


class Call(Generic[R_co]):
    """One call as a value: a task, its options, and the arguments as JSON.

    Attributes:
        plan: everything about the job but its arguments.
        payload: the arguments as one JSON object, without those that `secrets` holds.
        secrets: the arguments to be encrypted as another one; None: there are none.
        digest: SHA-256 of the arguments where the call has a key, else None.
        size: how large its input is, as the task tells from the arguments; None: it does not, or
            the call itself has told.
    """

    __slots__ = ("digest", "payload", "plan", "secrets", "size")

    def __init__(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signature = plan.registration.signature
        self.plan = plan
        self.payload, self.secrets = signature.parted(args, kwargs)
        self.digest = None if plan.spec.key is None else signature.digest(args, kwargs)
        self.size = plan.told_size(args, kwargs)

    def __repr__(self) -> str:
        return f"<call of {self.plan.spec.task}>"


class TaskDecorator(Protocol):
    """What `@app.task(...)` returns: makes a task of a function."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
