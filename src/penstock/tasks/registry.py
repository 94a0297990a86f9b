"""The tasks of an app by name, each with all that a worker needs to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from penstock.broker.requests import PAYLOAD_BYTES_MAX
from penstock.core.demand import NO_DEMAND, Demand, check_demand, need_with
from penstock.core.footprint import size_bucket
from penstock.core.job import PRIORITY_DEFAULT
from penstock.core.manifest import TaskFacts
from penstock.core.need import learned_need, need_name
from penstock.core.partition import OnPartition
from penstock.core.retry import POLICY_DEFAULT, RetryPolicy
from penstock.errors import BadSetting, SerializationError, UnknownTask
from penstock.serializers.json import JsonWriter
from penstock.tasks.options import Isolation
from penstock.tasks.signature import Signature

if TYPE_CHECKING:
    from penstock.tasks.routing import Routing


class Limits(msgspec.Struct, frozen=True):
    """Time limits of one attempt, in milliseconds; 0: none; None: as the settings say.

    Attributes:
        timeout_ms: hard limit: the attempt is ended, by killing its process if need be.
        soft_timeout_ms: SoftTimeLimit is raised in the task.
    """

    timeout_ms: int | None = None
    soft_timeout_ms: int | None = None


NO_LIMITS = Limits()
_WRITER: Final = JsonWriter()


class Registration(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One task: a function, its defaults, and the ways in and out.

    Attributes:
        name: registered name.
        function: what user code wrote.
        is_async: `function` is an `async def`.
        signature: binds calls, writes and reads payloads.
        options: what the decorator says, and the route where there is one, as written.
        queue: where its jobs go unless the call says otherwise.
        aliases: former names, whose stored jobs still run.
        priority: 0..10 of its jobs unless the call says otherwise.
        expires_ms: its jobs expire if they wait this long; None: never.
        result_ttl_ms: its results are dropped this long after completion; None: with the job.
        key_window_ms: how long an idempotency key is unique.
        policy: retries, crashes and backoff.
        limits: time limits of one attempt.
        isolation: "process", "thread" or None.
        on_partition: what its jobs do when their lease cannot be extended; with "kill" the
            isolation is "process".
        memory_bytes: declared reservation; None: none, or learned where `memory_auto`.
        memory_auto: `memory="auto"`.
        demand: what its jobs take beside memory unless the call says otherwise.
        size_of: tells from the arguments of a call how large its input is; None: nobody does.
        light: True, False, or None: as measured.
        retry_on: exceptions that are tried again; empty: all.
        discard_on: exceptions that end the job cancelled.
        on_dead: name of the task that is enqueued when a job of this one is buried, with the
            arguments `job_id`, `reason` and `error` (text or None).
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    signature: Signature
    options: Mapping[str, Any] = {}
    queue: str
    aliases: tuple[str, ...] = ()
    priority: int = PRIORITY_DEFAULT
    expires_ms: int | None = None
    result_ttl_ms: int | None = None
    key_window_ms: int
    policy: RetryPolicy = POLICY_DEFAULT
    limits: Limits = NO_LIMITS
    isolation: Isolation | None = None
    on_partition: OnPartition = "continue"
    memory_bytes: int | None = None
    memory_auto: bool = False
    demand: Demand = NO_DEMAND
    size_of: Callable[..., float] | None = None
    light: bool | None = None
    retry_on: tuple[type[Exception], ...] = ()
    discard_on: tuple[type[Exception], ...] = ()
    on_dead: str | None = None

    @property
    def is_isolated(self) -> bool:
        """Whether each of its jobs needs a child of its own."""
        is_measured = self.memory_auto or self.memory_bytes is not None
        return self.isolation == "process" or is_measured or self.demand != NO_DEMAND

    def need(
        self, *, memory_bytes: int | None, memory_auto: bool, size: float | None = None,
        demand: Demand | None = None,
    ) -> str:  # fmt: skip
        """Return the ready set of a call that asks for this much; the task's own where it is less.

        Args:
            memory_bytes: reservation that the call declares; None: none.
            memory_auto: the call asks for a learned one.
            size: how large the call's input is, for a learned one; None: not told.
            demand: what the call takes beside memory; None: as the task.

        Raises:
            BadSetting: what the call takes is too much for the name of a set.
        """
        takes = self.demand if demand is None else check_demand(demand)
        if memory_bytes is None and (memory_auto or self.memory_auto):
            return need_with(takes, learned_need(self.name, size_bucket(size)))
        declared = memory_bytes
        if declared is None and not memory_auto:
            declared = self.memory_bytes
        isolated = self.is_isolated or memory_auto
        return need_name(
            isolated=isolated, memory_bytes=declared, is_async=self.is_async, demand=takes
        )

    def decode(self, payload: bytes | msgspec.Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments (args, kwargs) that a payload holds, typed by the annotations.

        Raises:
            SerializationError: not JSON, unknown names, missing or wrong values; the job can never
                run and is to be buried.
        """
        return self.signature.call(payload)

    def encode_result(self, value: Any, *, bytes_max: int = PAYLOAD_BYTES_MAX) -> bytes | None:
        """Return what the function returned as JSON; None for None, which needs no storing.

        Raises:
            SerializationError: JSON cannot hold it, or it is larger than `bytes_max`.
        """
        if value is None:
            return None
        what = f"result of task {self.name}"
        text = _WRITER.write(value, what)
        if len(text) > bytes_max:
            raise SerializationError(
                f"{what} has {len(text)} bytes, {bytes_max} at most: store it elsewhere and return "
                "where, or raise result_bytes_max"
            )
        return text

    def facts(self) -> TaskFacts:
        """Return what a supervisor must know, as data."""
        return TaskFacts(
            name=self.name,
            aliases=self.aliases,
            queue=self.queue,
            policy=self.policy,
            timeout_ms=self.limits.timeout_ms,
            soft_timeout_ms=self.limits.soft_timeout_ms,
            is_async=self.is_async,
            isolated=self.is_isolated,
            memory_bytes=self.memory_bytes,
            memory_auto=self.memory_auto,
            on_partition=self.on_partition,
            priority=self.priority,
            need=self.need(memory_bytes=None, memory_auto=False),
            light=self.light,
            on_dead=self.on_dead,
        )


class Registry:
    """Registrations by name and alias.

    Attributes:
        routing: what the settings file says of tasks and queues; None: it has not been read yet.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Registration] = {}
        self.routing: Routing | None = None

    def follow(self, routing: Routing) -> None:
        """Give all tasks, and those still to come, what the settings file says of them.

        Raises:
            BadSetting: a task and the file contradict each other; nothing has changed.
        """
        made = {one.name: routing.outfit(one) for one in self}
        # Race: replaced, not changed, so that no thread sees a part of it.
        self._by_name = {name: made[one.name] for name, one in self._by_name.items()}
        self.routing = routing

    def add(self, registration: Registration) -> None:
        """Add a task under its name and its aliases.

        Raises:
            BadSetting: one of the names is taken by another function; nothing was added.
        """
        names = (registration.name, *registration.aliases)
        for name in names:
            other = self._by_name.get(name)
            if other is not None:
                raise BadSetting(
                    f"task name {name!r} is taken by {_place(other)}, and {_place(registration)} "
                    "asks for it too: give one of them another name=..."
                )
        if self.routing is not None:
            registration = self.routing.outfit(registration)
        for name in names:
            self._by_name[name] = registration

    def find(self, name: str) -> Registration | None:
        """Return the task of that name or alias, None if there is none.

        Names are only looked up, never imported or evaluated (SEC12).
        """
        return self._by_name.get(name)

    def facts(self, name: str) -> TaskFacts | None:
        """Return what a supervisor must know of the task of that name or alias."""
        found = self._by_name.get(name)
        return None if found is None else found.facts()

    def __getitem__(self, name: str) -> Registration:
        """Return the task of that name or alias.

        Raises:
            UnknownTask: there is none.
        """
        found = self._by_name.get(name)
        if found is None:
            import difflib

            near = difflib.get_close_matches(name, self._by_name, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "is its module imported?"
            raise UnknownTask(f"no task is registered under {name!r:.200}: {hint}")
        return found

    def check_on_dead(self) -> None:
        """See that every task that `on_dead` names is there, once all modules are imported.

        Raises:
            BadSetting: one is missing: its jobs could never be enqueued, so that deaths would go
                unnoticed.
        """
        for registration in self:
            target = registration.on_dead
            if target is not None and target not in self._by_name:
                raise BadSetting(
                    f"on_dead of task {registration.name} names {target!r}, which is not "
                    "registered: give the task itself, or import the module that defines it"
                )

    def __iter__(self) -> Iterator[Registration]:
        """Yield each task once, in the order of registration."""
        return iter(dict.fromkeys(self._by_name.values()))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _place(registration: Registration) -> str:
    function = registration.function
    code = getattr(function, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{function.__module__}.{function.__qualname__}{where}"
