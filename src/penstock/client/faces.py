"""The face of an enqueuer in an event loop: what a loop client asks of it, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from penstock.broker.threaded import HasLoopFace, ThreadedBroker
from penstock.client.drive import whole

if TYPE_CHECKING:
    from penstock.broker.protocol import Enqueuer
    from penstock.broker.requests import (
        Accepted,
        CancelAnswer,
        Durability,
        EnqueueRequest,
        JobStatus,
        Refused,
    )
    from penstock.core.ids import JobId
    from penstock.core.job import JobRecord


class Face(Protocol):
    """The part of `AsyncBroker` that a client needs. See `Broker` for the contracts."""

    @property
    def rounds_at_once(self) -> int:
        """How many calls the broker works on while the loop goes on."""
        ...

    async def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue."""
        ...

    async def enqueue(
        self, jobs: Sequence[EnqueueRequest], /, *, durability: Durability | None = None
    ) -> Sequence[Accepted | Refused]:
        """Store jobs."""
        ...

    async def peek(self, ids: Sequence[JobId], /) -> Sequence[JobStatus | None]:
        """Return state and result of jobs."""
        ...

    async def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        ...

    async def cancel(self, ids: Sequence[JobId], /) -> Sequence[CancelAnswer]:
        """Cancel jobs."""
        ...


class ThreadFace:
    """A face over as little as an enqueuer; calls run in the loop's default executor.

    Whole brokers have `broker.threaded.ThreadedBroker`.
    """

    rounds_at_once: Final = 1

    def __init__(self, enqueuer: Enqueuer) -> None:
        self._enqueuer = enqueuer

    async def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue."""
        return await asyncio.to_thread(self._enqueuer.register, queues)

    async def enqueue(
        self, jobs: Sequence[EnqueueRequest], /, *, durability: Durability | None = None
    ) -> Sequence[Accepted | Refused]:
        """Store jobs."""
        return await asyncio.to_thread(self._enqueuer.enqueue, jobs, durability=durability)

    async def peek(self, ids: Sequence[JobId], /) -> Sequence[JobStatus | None]:
        """Return state and result of jobs."""
        return await asyncio.to_thread(whole(self._enqueuer).peek, ids)

    async def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        return await asyncio.to_thread(whole(self._enqueuer).get, job_id)

    async def cancel(self, ids: Sequence[JobId], /) -> Sequence[CancelAnswer]:
        """Cancel jobs."""
        return await asyncio.to_thread(whole(self._enqueuer).cancel, ids)


class Faces:
    """The faces of one enqueuer: one for each loop, or one over a thread that all loops share.

    Args:
        enqueuer: a broker, or as little as an enqueuer.
    """

    def __init__(self, enqueuer: Enqueuer) -> None:
        self._enqueuer = enqueuer
        self._shared: Face | None = None

    def face(self) -> Face:
        """Return a face for the running loop."""
        enqueuer = self._enqueuer
        if isinstance(enqueuer, HasLoopFace):
            return enqueuer.loop_face()
        if self._shared is None:
            is_whole = hasattr(enqueuer, "peek")
            self._shared = ThreadedBroker(whole(enqueuer)) if is_whole else ThreadFace(enqueuer)
        return self._shared
