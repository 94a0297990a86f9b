"""What a running task knows of its own job: `current_job()`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

import msgspec

from penstock.errors import WrongContext
from penstock.serializers.json import JsonReader, JsonWriter

if TYPE_CHECKING:
    from penstock.core.ids import JobId
    from penstock.core.job import Claimed

T = TypeVar("T")


class Sinks(Protocol):
    """Where an attempt's words go; a worker supplies it. Safe to call from any thread.

    Writes are gathered (progress at most 10 times a second, the last value wins) and the last ones
    go out before the attempt is settled. Only a checkpoint is waited for, and only where that does
    not block an event loop.
    """

    def progress(self, value: msgspec.Raw, /) -> None:
        """Replace the job's progress."""
        ...

    def log(self, line: str, /) -> None:
        """Append a line to the job's log; the oldest beyond 1,000 lines or 256 KiB are dropped."""
        ...

    def checkpoint(self, value: msgspec.Raw, /) -> None:
        """Replace what the next attempt will find, at once.

        Raises:
            LeaseLost: the job belongs to another attempt.
        """
        ...

    def cancelled(self) -> bool:
        """Return whether the job's cancel is requested."""
        ...


class CurrentJob:
    """The job that runs here. Made by the worker, found by `current_job()`.

    Attributes:
        id: the job.
        task: registered name of its task.
        queue: where it was enqueued.
        attempt: 1 for the first run; failures, crashes and out-of-memory so far, plus one. A
            released or snoozed run does not count.
        claim_number: rises with every run of the job, released ones too: a fencing token for your
            own stores (write only where the stored number is not higher).
        tenant: whose work it is; None: the default tenant.
        tags: as given at enqueue.
    """

    __slots__ = (
        "_checkpoint", "_sinks", "attempt", "claim_number", "id", "queue", "tags", "task", "tenant",
    )  # fmt: skip

    def __init__(self, claimed: Claimed, sinks: Sinks) -> None:
        charges = claimed.charges
        self.id: JobId = claimed.id
        self.task: str = claimed.spec.task
        self.queue: str = claimed.queue
        self.attempt: int = 1 + charges.errors + charges.crashes + charges.ooms
        self.claim_number: int = claimed.claim_number
        self.tenant: str | None = claimed.spec.tenant
        self.tags: tuple[str, ...] = claimed.spec.tags
        self._checkpoint = claimed.checkpoint
        self._sinks = sinks

    def __repr__(self) -> str:
        return f"<current job {self.id}, attempt {self.attempt}>"

    @property
    def cancelled(self) -> bool:
        """Whether the job's cancel is requested; a loop in a thread should look now and then."""
        return self._sinks.cancelled()

    def progress(self, value: Any) -> None:
        """Show how far the job is; any JSON value. The last one wins, 10 writes a second at most.

        Raises:
            SerializationError: JSON cannot hold the value.
        """
        self._sinks.progress(msgspec.Raw(JsonWriter().write(value, "progress")))

    def log(self, line: str) -> None:
        """Keep a line with the job; the last 1,000 lines or 256 KiB are kept."""
        self._sinks.log(str(line))

    def checkpoint(self, value: Any) -> None:
        """Keep a value that the next attempt of this job finds as `last_checkpoint()`.

        In a plain function it is kept when this returns, however long the broker is away. In a
        coroutine, which must not block, it is written next, and in any case before the attempt's
        end is: only a crash right here may lose it.

        Raises:
            SerializationError: JSON cannot hold the value.
            LeaseLost: another attempt owns the job now; nothing was kept, and this one should end.
        """
        raw = msgspec.Raw(JsonWriter().write(value, "checkpoint"))
        self._sinks.checkpoint(raw)
        self._checkpoint = raw

    @overload
    def last_checkpoint(self) -> Any: ...

    @overload
    def last_checkpoint(self, wanted: type[T]) -> T | None: ...

    def last_checkpoint(self, wanted: Any = Any) -> Any:
        """Return what this attempt or the last one that kept a checkpoint left; None if none did.

        Args:
            wanted: type to read it as; default: plain JSON.

        Raises:
            SerializationError: it does not fit the type.
        """
        if self._checkpoint is None:
            return None
        return JsonReader(wanted).read(self._checkpoint, "checkpoint")


#: Set by the worker around each attempt; threads get it by running in a copy of the context.
CURRENT: Final[ContextVar[CurrentJob | None]] = ContextVar("penstock_current_job", default=None)


def current_job() -> CurrentJob:
    """Return the job that runs here.

    Raises:
        WrongContext: no job runs here: a direct call, or a thread that the task started without
            its context (`contextvars.copy_context().run`).
    """
    job = CURRENT.get()
    if job is None:
        raise WrongContext(
            "no job runs here: current_job() works in a task that a worker runs, and in threads "
            "that it starts with contextvars.copy_context().run"
        )
    return job
