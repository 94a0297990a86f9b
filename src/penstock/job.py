"""The handle of an enqueued job: wait for its result, look at it, cancel it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from penstock.core.ids import JobId, check_job_id
from penstock.core.job import JobRecord, Parent
from penstock.core.lifecycle import State
from penstock.core.units import Duration
from penstock.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from penstock.broker.requests import CancelAnswer, Durability
    from penstock.client.client import Client

R_co = TypeVar("R_co", covariant=True)


class Job(Generic[R_co]):
    """One enqueued call.

    A handle holds no connection and no state of the job: each method asks the broker. Calls with
    an `a` in front are for coroutines; the others block the calling thread.

    Attributes:
        id: 32 hexadecimal digits, time-ordered.
        durability: what the broker promised when it accepted the job; None where the handle was
            made from an id, or the caller's own commit decides.
        duplicate: nothing was enqueued: a job with this key and these arguments was there already.
    """

    __slots__ = ("_client", "_read", "duplicate", "durability", "id")

    def __init__(
        self,
        job_id: JobId,
        client: Client,
        read: Callable[[msgspec.Raw], Any] | None = None,
        durability: Durability | None = None,
        *,
        duplicate: bool = False,
    ) -> None:
        self.id = job_id
        self.durability = durability
        self.duplicate = duplicate
        self._client = client
        self._read = read

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the job is final and return what its task returned.

        A job from a task's `enqueue` is read as the return annotation, one from `app.job(id)` as
        plain JSON. Interruptible (Ctrl-C). Waiting longer never changes the job.

        Args:
            timeout: seconds, timedelta or "30s"; None: for ever.

        Raises:
            ResultTimeout: not final within `timeout`; the job goes on.
            JobDead, JobCancelled, JobExpired: it ended so.
            ResultGone: it completed, but its result is no longer kept.
            JobNotFound: there is no such job, or its retention is over.
            SerializationError: the result does not fit the return annotation.
            WrongContext: called inside a running event loop; use `aresult` there.
            Unavailable: the broker could not be asked.

        Cost: one look-up per poll; polls are 1 ms apart at first and 50 ms later on.
        """
        result: R_co = self._client.result(self.id, self._read, timeout)
        return result

    async def aresult(self, timeout: Duration | None = None) -> R_co:
        """Wait as `result` does, without blocking the event loop."""
        result: R_co = await self._client.aresult(self.id, self._read, timeout)
        return result

    def status(self) -> State:
        """Return the state of the job now.

        Raises:
            JobNotFound: there is no such job, or its retention is over.
        """
        return self._client.status(self.id)

    async def astatus(self) -> State:
        """Return the state of the job now, as `status` does."""
        return await self._client.astatus(self.id)

    def record(self) -> JobRecord:
        """Return all that the broker knows of the job: attempts, errors, progress, log lines.

        Raises:
            JobNotFound: there is no such job, or its retention is over.
        """
        return self._client.record(self.id)

    async def arecord(self) -> JobRecord:
        """Return all that the broker knows of the job, as `record` does."""
        return await self._client.arecord(self.id)

    def cancel(self) -> CancelAnswer:
        """Cancel the job.

        Returns:
            `cancelled`: it waited and never starts; `requested`: it runs and its task is told, the
            outcome decides; `too_late`: it was final.

        Raises:
            JobNotFound: there is no such job, or its retention is over.
        """
        return self._client.cancel(self.id)

    async def acancel(self) -> CancelAnswer:
        """Cancel the job, as `cancel` does."""
        return await self._client.acancel(self.id)


class After:
    """A parent in `.using(after=...)`, with a word on what its failure does.

    Args:
        job: handle or id of the parent.
        on_failure: "cancel": if the parent ends dead, cancelled or expired, this job is cancelled
            with reason `parent_failed`; "ignore": it runs all the same.

    Raises:
        BadSetting: `on_failure` is neither.
    """

    __slots__ = ("job", "on_failure")

    def __init__(
        self, job: Job[Any] | str, *, on_failure: Literal["cancel", "ignore"] = "cancel"
    ) -> None:
        if on_failure not in ("cancel", "ignore"):
            raise BadSetting(f"on_failure {on_failure!r} is unknown: use 'cancel' or 'ignore'")
        self.job = job
        self.on_failure = on_failure


def parent_of(value: Job[Any] | After | str) -> Parent:
    """Return the edge to one parent.

    Raises:
        BadSetting: not a job, an id or After.
    """
    if isinstance(value, After):
        return Parent(parent_of(value.job).id, ignore_failure=value.on_failure == "ignore")
    if isinstance(value, Job):
        return Parent(value.id)
    return Parent(check_job_id(value))
