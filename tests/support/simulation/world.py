"""Virtual time, processes that can be killed or stopped, and calls that can be lost."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Generator, Sequence
from random import Random
from typing import Any, TypeVar

import msgspec

from penstock.core.settlement import Applied, Bury, Cancel, Complete, Settlement
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support import history as h

T = TypeVar("T")
Steps = Generator[int, None, T]
"""An actor: yields milliseconds to wait, returns its answer."""

#: A call takes up to this long each way, in virtual milliseconds.
LATENCY_MS_MAX = 3
#: 2026-01-01, where virtual wall time begins.
EPOCH_MS = 1_767_225_600_000


class VirtualClock:
    """The broker's clock: moves only with the world."""

    def __init__(self) -> None:
        """Start at an hour after boot, so that "an hour ago" is a legal instant."""
        self.now_ms = 3_600_000

    def wall_ms(self) -> int:
        """Return virtual wall time."""
        return EPOCH_MS + self.now_ms

    def boot_ms(self) -> int:
        """Return virtual boot time."""
        return self.now_ms

    @property
    def boot_id(self) -> str:
        """All virtual time is of one boot."""
        return "virtual-boot"


class Process:
    """A process: what runs in it stops with it.

    Attributes:
        skew_ms: how far its own clock is off the broker's.
        is_calling: a call of its own is under way, so that a fault can strike just then.
    """

    def __init__(self, pid: int, skew_ms: int = 0) -> None:
        """Start alive."""
        self.pid = pid
        self.skew_ms = skew_ms
        self.is_dead = False
        self.is_calling = False
        self.stopped_until_ms = 0


class Engine:
    """Turns a call into steps. A planted bug defines a generator of a verb's name here.

    Without one a verb is a single step, as the port promises.
    """

    def __init__(self, broker: Any) -> None:
        """Wrap any broker that has the port's sync face."""
        self.broker = broker

    def run(
        self, caller: Process, verb: str, args: tuple[Any, ...], kw: dict[str, Any]
    ) -> Steps[Any]:
        """Carry out one verb for `caller`."""
        planted = getattr(self, verb, None)
        if planted is not None:
            return (yield from planted(caller, *args, **kw))
        return getattr(self.broker, verb)(*args, **kw)


class World:
    """The scheduler, and what everybody in it shares.

    Attributes:
        events: the history so far.
        attempts: (job, fence) -> attempt, of everything that a runner claimed.
    """

    def __init__(self, seed: int, clock: VirtualClock, engine: Engine) -> None:
        """Start empty at the clock's time."""
        self.random = Random(seed)
        self.clock = clock
        self.engine = engine
        self.events: list[h.Event] = []
        self.outage_until_ms = 0
        self.lost_replies = 0.02
        self.attempts: dict[tuple[str, str], int] = {}
        self._pids = itertools.count(1000)
        self._order = itertools.count()
        self._agenda: list[tuple[int, float, int, Process, Steps[None]]] = []

    def process(self, skew_ms: int = 0) -> Process:
        """Return a new process with a pid never used before."""
        return Process(next(self._pids), skew_ms)

    def spawn(self, process: Process, actor: Steps[None]) -> None:
        """Let an actor run in a process from now on."""
        self._at(self.clock.now_ms, process, actor)

    def record(self, event: h.Event) -> None:
        """Append to the history, stamped with virtual time."""
        stamped = msgspec.structs.replace(event, at_ns=self.clock.now_ms * 1_000_000)
        self.events.append(stamped)

    def hex_128(self) -> str:
        """Return 128 bits of the seed's, for ids, fences and leases."""
        return f"{self.random.getrandbits(128):032x}"

    def call(self, caller: Process, verb: str, *args: Any, **kw: Any) -> Steps[Any]:
        """Call the broker: request on its way, verb, reply on its way, or lost.

        Raises:
            Unavailable: an outage; nothing was written.
            OutcomeUnknown: the reply was lost after the verb was carried out.
        """
        caller.is_calling = True
        yield self.random.randint(0, LATENCY_MS_MAX)
        if self.clock.now_ms < self.outage_until_ms:
            yield 50
            raise Unavailable(f"{verb} in an outage of the simulated broker: call again")
        answer = yield from self.engine.run(caller, verb, args, kw)
        if verb == "settle":
            self._record_settlements(args[0], answer)
        yield self.random.randint(0, LATENCY_MS_MAX)
        caller.is_calling = False
        if self.random.random() < self.lost_replies:
            raise OutcomeUnknown(
                f"the reply to {verb} was lost: call again with the same arguments"
            )
        return answer

    def call_surely(self, caller: Process, verb: str, *args: Any, **kw: Any) -> Steps[Any]:
        """Call with the same arguments until there is an answer."""
        while True:
            try:
                return (yield from self.call(caller, verb, *args, **kw))
            except (Unavailable, OutcomeUnknown):
                yield self.random.randint(5, 40)

    def _record_settlements(self, items: Sequence[Settlement], answers: Sequence[Applied]) -> None:
        """Write what the broker did when it did it: the caller may learn of it late, or never."""
        for item, answer in zip(items, answers, strict=True):
            attempt = self.attempts.get((item.id, item.fence))
            if attempt is None:
                continue
            final = isinstance(item, Complete | Bury | Cancel) or answer is Applied.CANCELLED
            reply = h.FinishReplied(
                job=item.id,
                attempt=attempt,
                reply="lease_lost" if answer is Applied.STALE else "ok",
                final=final,
            )
            self.record(reply)

    def run(self, is_over: Callable[[], bool], *, until_ms: int) -> None:
        """Let the actors act until `is_over` or the world's time reaches `until_ms`."""
        while self._agenda and not is_over():
            at, _, _, process, actor = heapq.heappop(self._agenda)
            if at > until_ms:
                return
            if process.is_dead:
                continue
            if at < process.stopped_until_ms:
                self._at(process.stopped_until_ms, process, actor)
                continue
            self.clock.now_ms = max(self.clock.now_ms, at)
            try:
                wait_ms = next(actor)
            except StopIteration:
                continue
            self._at(self.clock.now_ms + wait_ms, process, actor)

    def _at(self, at_ms: int, process: Process, actor: Steps[None]) -> None:
        # The random number decides between actors of one instant; the counter only breaks ties.
        entry = (at_ms, self.random.random(), next(self._order), process, actor)
        heapq.heappush(self._agenda, entry)
