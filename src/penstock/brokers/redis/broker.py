"""The port over one Redis server, called from threads."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from penstock.broker import requests as r
from penstock.broker import rules
from penstock.broker.threaded import ThreadedBroker
from penstock.core.capacity import Capacity
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import JobRecord
from penstock.core.settlement import Applied, Settlement
from penstock.errors import BadSetting, BrokerError, Unavailable, WrongContext

from .listener import RedisListener
from .loop_broker import RedisLoopBroker
from .schema import prepare
from .scripts import read_scripts
from .server import ANSWER_TIMEOUT_S, Server
from .settings import check_settings
from .verbs import Question, Verbs

if TYPE_CHECKING:
    from penstock.broker.protocol import AsyncBroker

T = TypeVar("T")

#: Root of all keys and channels.
ROOT: Final = "penstock"


class RedisBroker:
    """A `Broker` on one Redis or Valkey server, shared by any number of hosts.

    See `Broker` for the contract of each verb. What this adapter adds:

    - Every verb is one script, run by its digest; time is the server's.
    - `local` is kept in the server's memory and, with an append-only file, on its disk about every
      second; `fsync` is given where the server syncs at every write (`appendfsync always`);
      `replicated` waits for one replica at each enqueue. Settling waits for none: what is lost with
      the primary is made good by another run.
    - An enqueue is refused while the server's memory is full; settling goes on.
    """

    def __init__(
        self,
        server: Server,
        facts: r.BrokerFacts,
        payload_bytes_max: int,
        *,
        root: str = ROOT,
        clock: str | None = None,
    ) -> None:
        """Take over a checked server. Use `open`."""
        self._server = server
        self._root = root
        self._verbs = Verbs(read_scripts(clock), facts, payload_bytes_max)
        self._faces: list[weakref.ref[RedisLoopBroker]] = []
        self._threaded: ThreadedBroker | None = None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        durability: r.Durability | None = None,
        payload_bytes_max: int = r.PAYLOAD_BYTES_MAX,
        root: str = ROOT,
        clock: str | None = None,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> RedisBroker:
        """Connect to a server, check its settings and what it holds.

        Args:
            url: `redis://HOST:PORT/DB`, `rediss://...` or `unix://PATH`.
            durability: class of an enqueue that asks for none; None: `local`.
            payload_bytes_max: bytes of one payload, and of one result.
            root: start of all keys.
            clock: Lua that defines the clocks; None: the server's.
            answer_timeout_s: for each answer.

        Raises:
            BadSetting: the URL with its user, password and database, the server's settings, what
                it holds or the class of durability cannot be used.
            Unavailable: the server cannot be reached.
        """
        server = Server(url, answer_timeout_s=answer_timeout_s)
        try:
            facts = check_settings(server, durability or r.Durability.LOCAL)
            schema = prepare(server, root, read_scripts(clock)["schema"])
        except BaseException as error:
            server.close()
            if isinstance(error, Unavailable) and error.lasts:
                # While a broker is open a password may be changed under it, and changed back. Here
                # nothing was begun, and waiting would hide a mistake.
                raise BadSetting(str(error)) from error
            raise
        facts = msgspec.structs.replace(facts, schema_version=schema.version)
        return cls(server, facts, payload_bytes_max, root=root, clock=clock)

    def loop_face(self) -> AsyncBroker:
        """Return a face for the event loop that first uses it.

        It has a connection of its own in the loop; one over TLS is left to a thread.
        """
        if self._server.is_encrypted:
            # One for all loops: it has a thread, and belongs to none of them.
            self._threaded = self._threaded or ThreadedBroker(self)
            return self._threaded
        # A loop tells nobody when it ends: its connection is closed now at the latest.
        self._hang_up(always=False)
        face = RedisLoopBroker(self, self._server, self._verbs, self._root)
        self._faces.append(weakref.ref(face, self._faces.remove))
        return face

    def register(self, queues: Sequence[str], /) -> Mapping[str, int]:
        """Return the tag of each queue, giving one to names not seen before."""
        self._server.check_open()
        known = self._verbs.known_tags(queues)
        return self._put(self._verbs.register(queues)) if known is None else known

    def enqueue(
        self, jobs: Sequence[r.EnqueueRequest], /, *, durability: r.Durability | None = None
    ) -> Sequence[r.Accepted | r.Refused]:
        """Store jobs."""
        rules.check_batch("jobs", jobs, least=1)
        if not self._verbs.knows_queues_of(jobs):
            self._put(self._verbs.all_tags())
        return self._put(self._verbs.enqueue(jobs, durability))

    def open_lease(self, lease: r.OpenLease, /) -> None:
        """Open a lease for each of its queues."""
        self.register(lease.queues)
        self._put(self._verbs.open_lease(lease))

    def extend(self, leases: Sequence[LeaseId], /, *, ttl_ms: int) -> r.ExtendAnswer:
        """Let leases run for another `ttl_ms`, and fetch cancels."""
        return self._put(self._verbs.extend(leases, ttl_ms))

    def close_leases(self, leases: Sequence[LeaseId], /) -> None:
        """Close leases for ever."""
        self._put(self._verbs.close_leases(leases))

    def restate(self, lease: LeaseId, capacity: Capacity, /) -> None:
        """Say anew what the worker behind a lease can take."""
        self._put(self._verbs.restate(lease, capacity))

    def claim(self, request: r.ClaimRequest, /) -> r.ClaimAnswer:
        """Take the best jobs of the offered sets."""
        return self._put(self._verbs.claim(request))

    def settle(self, settlements: Sequence[Settlement], /) -> Sequence[Applied]:
        """Apply decisions to running jobs, each guarded by its fence."""
        return self._put(self._verbs.settle(settlements)) if settlements else []

    def cycle(
        self, settlements: Sequence[Settlement], request: r.ClaimRequest, /
    ) -> tuple[Sequence[Applied], r.ClaimAnswer]:
        """Settle, then claim, in one script."""
        return self._put(self._verbs.cycle(settlements, request))

    def note(self, notes: Sequence[r.Note], /) -> Sequence[bool]:
        """Keep progress, checkpoints and log lines of running attempts."""
        return self._put(self._verbs.note(notes))

    def promote(self, queues: Sequence[str], /, *, limit: int) -> int:
        """Make due jobs claimable."""
        return self._put(self._verbs.promote(queues, limit))

    def expire(self, queues: Sequence[str], /, *, limit: int) -> int:
        """End jobs past their deadline."""
        return self._put(self._verbs.expire(queues, limit))

    def reclaim(self, request: r.ReclaimRequest, /) -> r.ReclaimAnswer:
        """Take over running jobs whose lease is closed or has run out."""
        return self._put(self._verbs.reclaim(request))

    def prune(
        self, queues: Sequence[str], retention: Sequence[r.Retention], /, *, limit: int
    ) -> int:
        """Forget final jobs past their retention, results past their ttl, and spent keys."""
        return self._put(self._verbs.prune(queues, retention, limit))

    def learn(self, tallies: Sequence[r.Tally], /) -> None:
        """Add to the footprints of profiles."""
        self._put(self._verbs.learn(tallies))

    def footprints(self, profiles: Sequence[str], /) -> Mapping[str, Mapping[str, float]]:
        """Return what was learned of profiles."""
        return self._put(self._verbs.footprints(profiles))

    def peek(self, ids: Sequence[JobId], /) -> Sequence[r.JobStatus | None]:
        """Return state and result of jobs."""
        return self._put(self._verbs.peek(ids))

    def get(self, job_id: JobId, /) -> JobRecord | None:
        """Return everything that is known of one job."""
        return self._put(self._verbs.get(job_id))

    def list_jobs(self, where: r.JobFilter, /, *, limit: int, before: JobId | None) -> r.JobPage:
        """Return jobs, newest id first."""
        questions = self._verbs.list_jobs(where, limit, before)
        answer: Any = None
        while True:
            try:
                question = questions.send(answer)
            except StopIteration as end:
                page: r.JobPage = end.value
                return page
            answer = self._put(question)

    def counts(self) -> Sequence[r.QueueCounts]:
        """Return the counters of every known queue."""
        return self._put(self._verbs.counts())

    def needs(self, queues: Sequence[str], /) -> Mapping[str, Sequence[str]]:
        """Return the names of the ready sets that are not empty."""
        return self._put(self._verbs.needs(queues))

    def leases(self) -> Sequence[r.LeaseFacts]:
        """Return the open leases."""
        return self._put(self._verbs.leases())

    def describe(self) -> r.BrokerFacts:
        """Return what this broker is."""
        self._server.check_open()
        return self._verbs.facts

    def cancel(self, ids: Sequence[JobId], /) -> Sequence[r.CancelAnswer]:
        """Cancel jobs; running ones are asked."""
        return self._put(self._verbs.cancel(ids))

    def requeue(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Give final jobs a new budget of attempts."""
        return self._put(self._verbs.requeue(ids))

    def delete(self, ids: Sequence[JobId], /) -> Sequence[r.OperatorAnswer]:
        """Forget final jobs now."""
        return self._put(self._verbs.delete(ids))

    def pause(self, queue: str, /) -> None:
        """Let claims of this queue return nothing until `resume`."""
        self._put(self._verbs.switch(queue, paused=True))

    def resume(self, queue: str, /) -> None:
        """Undo `pause`, and wake sleeping runners."""
        self._put(self._verbs.switch(queue, paused=False))

    def listen(self) -> RedisListener:
        """Open a place to be woken at from any host."""
        return RedisListener(self._server, self._root, self._forget_listener)

    def close(self) -> None:
        """Let go of the connections, in event loops too. Later calls raise `WrongContext`."""
        self._server.close()
        self._hang_up(always=True)

    def _hang_up(self, *, always: bool) -> None:
        # Race: other threads add faces meanwhile, and the collector takes some away.
        for reference in self._faces.copy():
            face = reference()
            if face is not None:
                face.hang_up(always=always)

    def _put(self, question: Question[T]) -> T:
        return question.read(self._server.run(self._root, question))

    def _forget_listener(self, token: str) -> None:
        with suppress(BrokerError, WrongContext):
            self._put(self._verbs.forget_token(token))
