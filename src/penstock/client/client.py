"""The client: performs the flows of `flow.py` against a broker, sync or awaited.

Two thin drivers instead of one loop thread behind a sync face, which would halve the speed of sync
code (ADR-0002). The sync broker belongs to the process: by the port's contract it may be used from
many threads and starts anew after a fork. The async face belongs to one event loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.broker.requests import Accepted, CancelAnswer, Durability
from penstock.client import builder, flow
from penstock.client.drive import drive, is_in_event_loop, put_one, whole
from penstock.client.job_ids import JobIds, PerProcess
from penstock.client.sealing import Sealing
from penstock.core.units import Duration
from penstock.errors import PenstockError, WrongContext
from penstock.job import Job
from penstock.telemetry.events import EventSinks, JobEnqueued

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker, Enqueuer
    from penstock.broker.requests import EnqueueRequest
    from penstock.client.faces import Face, Faces
    from penstock.client.loops import LoopClient, LoopClients
    from penstock.config.settings import Settings
    from penstock.core.ids import JobId
    from penstock.core.job import JobRecord
    from penstock.core.lifecycle import State
    from penstock.serializers.sealing import Sealer
    from penstock.task import Call

T = TypeVar("T")


class Client:
    """Enqueues calls and asks about jobs, for one app in one process and its forks.

    Args:
        open_broker: opens the broker; called once, at the first use.
        event_sinks: told of accepted jobs.
        settings: returns the app's settings, resolved at the first use.
    """

    def __init__(
        self,
        open_broker: Callable[[], Broker],
        event_sinks: EventSinks,
        settings: Callable[[], Settings],
    ) -> None:
        self._settings = settings
        #: What seals secret arguments.
        self.sealing = Sealing(lambda: settings().secret_keys)
        self._event_sinks = event_sinks
        self._open_broker = open_broker
        self._broker: Broker | None = None
        self._attached: Enqueuer | None = None
        self._tags: dict[str, int] = {}
        self._ids = JobIds()
        self._opening = PerProcess(threading.Lock)
        self._faces: Faces | None = None
        self._loops: LoopClients | None = None
        self._pause: Callable[[float], None] = time.sleep

    @property
    def enqueuer(self) -> Enqueuer:
        """What jobs go to: the attached enqueuer, else the app's own broker, opened now if need be.

        Raises:
            WrongContext: this process may not connect (a child).
            Unavailable: the broker cannot be reached; nothing was written.
        """
        if self._attached is not None:
            return self._attached
        return self.broker

    @property
    def broker(self) -> Broker:
        """The whole broker, opened now if need be; sync.

        Raises:
            WrongContext: only an enqueuer is attached (a child).
            Unavailable: the broker cannot be reached; nothing was written.
        """
        if self._attached is not None:
            return whole(self._attached)
        if self._broker is None:
            with self._opening.value():
                if self._broker is None:
                    self._broker = self._open_broker()
        return self._broker

    def attach(
        self,
        enqueuer: Enqueuer | None,
        *,
        pause: Callable[[float], None] = time.sleep,
        sealer: Sealer | None = None,
    ) -> Enqueuer | None:
        """Send everything to `enqueuer` from now on; None: to the app's own broker again.

        Args:
            enqueuer: a broker, or as little as an enqueuer: then jobs can only be enqueued.
            pause: called between two looks of a waiting `result`.
            sealer: seals secret arguments; None: the app's own keys.

        Returns:
            What was attached before.
        """
        before, self._attached = self._attached, enqueuer
        self._tags = {}
        self._pause = pause
        self.sealing.attached = sealer
        self._faces = self._loops = None
        return before

    def face(self) -> Face:
        """Return a face of the broker for the running loop."""
        if self._faces is None:
            from penstock.client.faces import Faces

            self._faces = Faces(self.enqueuer)
        return self._faces.face()

    def close(self) -> None:
        """Close the app's own broker; the next call opens it again."""
        with self._opening.value():
            broker, self._broker = self._broker, None
            self._faces = self._loops = None
            self._tags = {}
        if broker is not None:
            broker.close()

    def enqueue(self, call: Call[T]) -> Job[T]:
        """Enqueue one call; see `Task.enqueue`."""
        request = self.request(call)
        if request is None:
            [outcome] = self._outcomes([call], None)
            return builder.handle(self, call, outcome)
        outcome = put_one(request, call.plan.durability, self.enqueuer, self._pause)
        if self._event_sinks:
            self.tell_enqueued([call], [outcome])
        return builder.handle(self, call, outcome)

    async def aenqueue(self, call: Call[T]) -> Job[T]:
        """Enqueue one call; calls of one turn of the loop share a round trip."""
        self.check([call])
        return builder.handle(self, call, await self._loop().enqueue(call))

    def enqueue_many(
        self, calls: Iterable[Call[Any]], durability: Durability | None
    ) -> list[Job[Any]]:
        """Enqueue calls in order; see `App.enqueue_many`."""
        several = list(calls)
        return builder.handles(self, several, self._outcomes(several, durability))

    async def aenqueue_many(
        self, calls: Iterable[Call[Any]], durability: Durability | None
    ) -> list[Job[Any]]:
        """Enqueue calls in order; see `App.enqueue_many`."""
        several = list(calls)
        return builder.handles(self, several, await self._loop().enqueue_many(several, durability))

    def result(self, job_id: JobId, read: builder.Read | None, timeout: Duration | None) -> Any:
        """Wait for a job; see `Job.result`."""
        if is_in_event_loop():
            raise WrongContext(
                "result() would block the running event loop, and with it maybe the job itself: "
                "use `await job.aresult()` here"
            )
        return self._drive(builder.result_flow(job_id, read, timeout))

    async def aresult(
        self, job_id: JobId, read: builder.Read | None, timeout: Duration | None
    ) -> Any:
        """Wait for a job without blocking the loop; see `Job.result`."""
        return await self._loop().perform(builder.result_flow(job_id, read, timeout))

    def status(self, job_id: JobId) -> State:
        """Return the state of a job. Raises JobNotFound."""
        return self._drive(flow.state(job_id))

    async def astatus(self, job_id: JobId) -> State:
        """Return the state of a job. Raises JobNotFound."""
        return await self._loop().perform(flow.state(job_id))

    def record(self, job_id: JobId) -> JobRecord:
        """Return all that is known of a job. Raises JobNotFound."""
        return self._drive(flow.record(job_id))

    async def arecord(self, job_id: JobId) -> JobRecord:
        """Return all that is known of a job. Raises JobNotFound."""
        return await self._loop().perform(flow.record(job_id))

    def cancel(self, job_id: JobId) -> CancelAnswer:
        """Cancel a job. Raises JobNotFound."""
        return self._drive(flow.cancel(job_id))

    async def acancel(self, job_id: JobId) -> CancelAnswer:
        """Cancel a job. Raises JobNotFound."""
        return await self._loop().perform(flow.cancel(job_id))

    def pause(self, seconds: float) -> None:
        """Let time pass between two looks at a job."""
        self._pause(seconds)

    async def apause(self, seconds: float) -> None:
        """Let time pass between two looks at a job."""
        if self._pause is time.sleep:
            import asyncio

            await asyncio.sleep(seconds)
        else:
            self._pause(seconds)

    def check(self, calls: Iterable[Call[Any]]) -> None:
        """Refuse payloads over the cap. Raises PayloadTooLarge."""
        builder.check_sizes(calls, self._settings().payload_bytes_max)

    def missing(self, calls: Sequence[Call[Any]]) -> list[str]:
        """Return the queues whose tags are not known yet."""
        names = {call.plan.queue for call in calls}
        return sorted(names.difference(self._tags))

    def request(self, call: Call[Any]) -> EnqueueRequest | None:
        """Return the request of one call with a new id; None: the queue's tag is not known yet.

        Raises:
            PayloadTooLarge: nothing was written.
        """
        tag = self._tags.get(call.plan.queue)
        if tag is None:
            return None
        self.check([call])
        return builder.build(call, self._ids.draw_one(tag), self.sealing.sealer)

    def requests(
        self, calls: Sequence[Call[Any]], tags: Mapping[str, int], durability: Durability | None
    ) -> list[tuple[EnqueueRequest, Durability | None]]:
        """Return the requests of calls with new ids, each with the class asked for.

        Args:
            calls: any number.
            tags: tags of queues that the broker gave just now; they are kept.
            durability: for calls that do not ask for one themselves.

        Raises:
            PayloadTooLarge: of one of them; nothing was written of any.
        """
        self.check(calls)
        if tags:
            # Race: replaced, not changed, so that no thread sees a part of it.
            self._tags = {**self._tags, **tags}
        known = self._tags
        ids = self._ids.draw([known[call.plan.queue] for call in calls])
        return [
            (builder.build(call, job_id, self.sealing.sealer), call.plan.durability or durability)
            for call, job_id in zip(calls, ids, strict=True)
        ]

    def tell_enqueued(
        self, calls: Sequence[Call[Any]], outcomes: Sequence[Accepted | PenstockError]
    ) -> None:
        """Tell the event sinks of accepted jobs; where there are none, no event is made."""
        if not self._event_sinks:
            return
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                event = JobEnqueued(
                    id=outcome.id,
                    task=call.plan.spec.task,
                    queue=call.plan.queue,
                    duplicate=outcome.duplicate,
                )
                self._event_sinks.tell(event)

    def _outcomes(
        self, calls: Sequence[Call[Any]], durability: Durability | None
    ) -> list[Accepted | PenstockError]:
        missing = self.missing(calls)
        tags = self._drive(flow.tags(missing, time.monotonic)) if missing else {}
        requests = self.requests(calls, tags, durability)
        outcomes = self._drive(flow.send_all(requests, time.monotonic))
        self.tell_enqueued(calls, outcomes)
        return outcomes

    def _drive(self, steps: flow.Flow[T]) -> T:
        return drive(steps, self.enqueuer, self._pause)

    def _loop(self) -> LoopClient:
        if self._loops is None:
            from penstock.client.loops import LoopClients

            self._loops = LoopClients()
        return self._loops.current(self)
