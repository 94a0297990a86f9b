"""The port over one Redis server, awaited, over a connection of the event loop's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from penstock.broker import requests as r
from penstock.broker import rules
from penstock.broker.protocol import Listener
from penstock.core.capacity import Capacity
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.settlement import Applied, Settlement

from . import faults
from .line import Line
from .server import Server
from .verbs import Question, Verbs
from .wire import Word

if TYPE_CHECKING:
    from .broker import RedisBroker

T = TypeVar("T")

#: Seconds that a claim waits at most, and no longer than an extension behind it does: that one
#: would come too late for the lease, however short it is.
PATIENCE_MAX_S: Final = 8.0


class RedisLoopBroker:
    """The verbs of `RedisBroker`, awaited. See `Broker` for the contract of each.

    Belongs to the event loop that first uses it. Calls share one connection, on which they follow
    each other without waiting for the answer to the one before. An `await` that is cancelled does
    not stop its call: the write may still happen, as after `OutcomeUnknown`.

    Args:
        broker: the sync face, which is closed together with this one.
        server: connects.
        verbs: shared with the sync face.
        root: root of all keys.
    """

    #: Rounds that a runner keeps under way: the server works on one while the loop runs the jobs
    #: of the other.
    rounds_at_once: Final = 2

    def __init__(self, broker: RedisBroker, server: Server, verbs: Verbs, root: str) -> None:
        self._broker = broker
        self._server = server
        self._verbs = verbs
        self._root = root
        self._patience_s = server.answer_timeout_s
        self._line: Line | None = None
        self._dialling: asyncio.Task[Line] | None = None

    def __del__(self) -> None:
        # The loop knows the line, and would keep it open for nobody.
        self.hang_up()

    async def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue."""
        self._server.check_open()
        known = self._verbs.known_tags(queues)
        return await self._put(self._verbs.register(queues)) if known is None else known

    async def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs."""
        rules.check_batch("jobs", jobs, least=1)
        if not self._verbs.knows_queues_of(jobs):
            await self._put(self._verbs.all_tags())
        return await self._put(self._verbs.enqueue(jobs, durability))

    async def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        await self.register(lease.queues)
        await self._put(self._verbs.open_lease(lease))

    async def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        return await self._put(self._verbs.extend(leases, ttl_ms))

    async def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever."""
        await self._put(self._verbs.close_leases(leases))

    async def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Say anew what the worker behind a lease can take."""
        await self._put(self._verbs.restate(lease, capacity))

    async def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets."""
        return await self._put(self._verbs.claim(request))

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        return await self._put(self._verbs.settle(settlements)) if settlements else []

    async def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one script."""
        return await self._put(self._verbs.cycle(settlements, request))

    async def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts."""
        return await self._put(self._verbs.note(notes))

    async def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable."""
        return await self._put(self._verbs.promote(queues, limit))

    async def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline."""
        return await self._put(self._verbs.expire(queues, limit))

    async def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs whose lease is closed or has run out."""
        return await self._put(self._verbs.reclaim(request))

    async def prune(
        self, queues: Sequence[str], retention: Sequence[r.Retention], /, *, limit: int
    ) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        return await self._put(self._verbs.prune(queues, retention, limit))

    async def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles."""
        await self._put(self._verbs.learn(tallies))

    async def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return what was learned of profiles."""
        return await self._put(self._verbs.footprints(profiles))

    async def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        return await self._put(self._verbs.peek(ids))

    async def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        return await self._put(self._verbs.get(job_id))

    async def list_jobs(
        self, where: r.JobFilter, /, *, limit: int, before: JobId | None
    ) -> r.JobPage:
        """Return jobs, newest id first."""
        questions = self._verbs.list_jobs(where, limit, before)
        answer: Any = None
        while True:
            try:
                question = questions.send(answer)
            except StopIteration as end:
                page: r.JobPage = end.value
                return page
            answer = await self._put(question)

    async def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        return await self._put(self._verbs.counts())

    async def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        return await self._put(self._verbs.needs(queues))

    async def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        return await self._put(self._verbs.leases())

    async def describe(self) -> r.BrokerFacts:
        """Return what this broker is."""
        return self._broker.describe()

    async def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        return await self._put(self._verbs.cancel(ids))

    async def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        return await self._put(self._verbs.requeue(ids))

    async def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        return await self._put(self._verbs.delete(ids))

    async def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        await self._put(self._verbs.switch(queue, paused=True))

    async def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        await self._put(self._verbs.switch(queue, paused=False))

    async def listen(self) -> Listener:
        """Open a place to be woken at."""
        return await asyncio.to_thread(self._broker.listen)

    async def close(self) -> None:
        """Close the broker behind it, and the connection of this loop."""
        if self._line is not None:
            self._line.close()
        self._broker.close()

    def hang_up(self, *, always: bool = True) -> None:
        """Close the connection, from any thread.

        Args:
            always: also where its loop goes on.
        """
        line = self._line
        if line is not None and (always or line.is_loop_over):
            self._line = None
            line.hang_up()

    async def _put(self, question: Question[T]) -> T:
        if question.is_copied:
            # Waiting for a replica would hold up whatever follows on the same connection.
            answer = await asyncio.to_thread(self._server.run, self._root, question)
            return question.read(answer)
        line = self._line
        if line is None or not line.is_open:
            line = await self._dialled()
        script, writes = question.script, question.writes
        patience_s = self._patience_s if question.hands_out else 0.0
        words: tuple[Word, ...] = ("EVALSHA", script.sha, 1, self._root, *question.words)
        try:
            try:
                answer = await line.ask(
                    words, writes=writes, patience_s=patience_s, is_urgent=question.is_urgent
                )
            except faults.Reply as reply:
                if not reply.is_no_script:
                    raise
                words = ("EVAL", script.text, 1, self._root, *question.words)
                answer = await line.ask(
                    words, writes=writes, patience_s=patience_s, is_urgent=question.is_urgent
                )
        except faults.Reply as reply:
            raise faults.refused(reply, self._server.where, writes=writes) from reply
        return question.read(answer)

    async def _dialled(self) -> Line:
        """Return an open line, shared by all who wait for one."""
        self._server.check_open()
        if self._dialling is None:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())
            self._dialling.add_done_callback(self._was_dialled)
        return await asyncio.shield(self._dialling)

    async def _dial(self) -> Line:
        # A loop that ends meanwhile drops the wire, which closes its socket.
        wire = await asyncio.to_thread(self._server.dial)
        # A server that greets us and is late with a large answer would be asked for it again and
        # again, each time from the start.
        was_late = self._line is not None and self._line.was_late
        longer_s = min(2 * self._patience_s, PATIENCE_MAX_S)
        self._patience_s = longer_s if was_late else self._server.answer_timeout_s
        line = Line(wire.sock, self._server.where, self._server.answer_timeout_s)
        self._line = line
        # Race: who closes the broker from another thread has hung up before there was a line.
        if self._server.is_closed:
            self.hang_up()
        self._server.check_open()
        return line

    def _was_dialled(self, dialling: asyncio.Task[Line]) -> None:
        self._dialling = None
        if not dialling.cancelled():
            # Whoever waited for it may be gone: it counts as looked at.
            dialling.exception()
