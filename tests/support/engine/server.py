"""The simulated broker: a store in memory behind a network that delays, reorders and loses.

Every verb takes effect in one instant, some time after it was asked for and before it is answered.
Requests and answers travel each for themselves, so that what was asked for first may arrive last.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from penstock.brokers.memory import MemoryBroker, Store
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support import history as h
from tests.support.engine.jobs import QUEUE
from tests.support.engine.loop import PROCESS, SimulatedLoop
from tests.support.engine.referee import Referee

#: 2026-01-01, where virtual wall time begins.
EPOCH_MS = 1_767_225_600_000
#: Seconds that a client waits for an answer.
CALL_TIMEOUT_S = 0.4
#: Verbs that only read: they are not replayed.
_READS = frozenset(
    {"get", "peek", "list_jobs", "counts", "needs", "leases", "footprints", "describe"}
)
#: Verbs that take jobs. One that arrives after its caller has given up and asked again would be a
#: call of its own: see `Weather.late`.
TAKES = frozenset({"claim", "cycle", "reclaim"})


class SimulatedClock:
    """A machine's clocks: boot time is the world's, wall time may be wrong and may be set."""

    def __init__(self, loop: SimulatedLoop, skew_ms: int = 0) -> None:
        """Be `skew_ms` ahead of the true time."""
        self._loop = loop
        self.skew_ms = skew_ms
        self.boots = 1
        self._booted_ms = 0

    def wall_ms(self) -> int:
        """Return wall time, as far as this machine knows."""
        return EPOCH_MS + self.skew_ms + int(self._loop.now_s * 1000)

    def boot_ms(self) -> int:
        """Return the time since this machine was booted."""
        return int(self._loop.now_s * 1000) - self._booted_ms

    @property
    def boot_id(self) -> str:
        """Name of this boot."""
        return f"boot-{self.boots}"

    def reboot(self) -> None:
        """Begin another boot; wall time goes on."""
        self.boots += 1
        self._booted_ms = int(self._loop.now_s * 1000) - 1_000


class _Replayed:
    """A clock that says again what it said when a write was made."""

    def __init__(self) -> None:
        self.wall, self.boot, self.boot_id = 0, 0, ""

    def wall_ms(self) -> int:
        return self.wall

    def boot_ms(self) -> int:
        return self.boot


class _Write(NamedTuple):
    wall_ms: int
    boot_ms: int
    boot_id: str
    verb: str
    words: tuple[Any, ...]
    named: dict[str, Any]


class Weather:
    """How the network is doing; the nemesis changes it.

    Attributes:
        is_down: the broker does not answer anybody.
        lost: share of calls whose request or answer never arrives.
        slow: share of messages that take up to `CALL_TIMEOUT_S` and half more.
        late: whether a request may take effect after its caller was told that nobody knows.
    """

    def __init__(self) -> None:
        """Begin with a network as good as any."""
        self.is_down = False
        self.lost = 0.01
        self.slow = 0.02
        self.late = True


class Server:
    """The broker's machine.

    Attributes:
        store: what it holds.
        clock: of this machine.
        weather: of the network before it.
        referee: sees what it does.
        fails_at: it goes away as soon as one of these verbs has given jobs away, unanswered.
    """

    def __init__(
        self, loop: SimulatedLoop, random: Random, record: Callable[[h.Event], None],
        *, make: type[MemoryBroker] = MemoryBroker, keeps_writes: bool,
    ) -> None:  # fmt: skip
        """Begin empty; `keeps_writes` so that a failover can forget the last ones."""
        self.loop = loop
        self.random = random
        self.clock = SimulatedClock(loop)
        self._make = make
        self.broker = make(self.clock)
        self.weather = Weather()
        self.referee = Referee(loop, record)
        self.fails_at: frozenset[str] = frozenset()
        self._writes: list[_Write] | None = [] if keeps_writes else None
        self._waiting: dict[int, tuple[str, Callable[[Any, Exception | None], None]]] = {}
        self._numbers = itertools.count()
        self._descriptors = itertools.count(1)
        self._listeners: list[SimulatedListener] = []
        self._carry_out("register", ([QUEUE],), {})

    @property
    def store(self) -> Store:
        """All jobs, as they are."""
        return self.broker.store

    def listen(self) -> SimulatedListener:
        """Open a place to be woken at, of the process that asks."""
        listener = SimulatedListener(self, next(self._descriptors))
        self._listeners.append(listener)
        self.store.wakeups.add_listener(listener)  # type: ignore[arg-type]
        return listener

    def delay_s(self) -> float:
        """Draw how long one message takes."""
        if self.random.random() < self.weather.slow:
            return self.random.uniform(0.0, 1.5 * CALL_TIMEOUT_S)
        return self.random.uniform(0.000_2, 0.003)

    def send(
        self, verb: str, words: tuple[Any, ...], named: dict[str, Any],
        told: Callable[[Any, Exception | None], None],
    ) -> None:  # fmt: skip
        """Let a request travel; `told` is called with its answer, in the world's own process."""
        number = next(self._numbers)
        self._waiting[number] = (verb, told)
        loop, world = self.loop, self.loop.world
        is_lost, delay_s = self.random.random() < self.weather.lost, self.delay_s()
        back_s = None if self.random.random() < self.weather.lost else self.delay_s()
        late = back_s is None or delay_s + back_s > CALL_TIMEOUT_S
        if is_lost or delay_s > CALL_TIMEOUT_S / 2 or (late and verb != "extend"):
            self.referee.swallows(verb, words, PROCESS.get().pid)
        if not is_lost:
            loop.post(world, delay_s, self._arrived, number, verb, words, named, back_s)
        loop.post(world, CALL_TIMEOUT_S, self._give_up, number)

    def cut(self) -> None:
        """Break every connection: who waits for an answer is told that nobody knows."""
        self.weather.is_down, self.fails_at = True, frozenset()
        for listener in self._listeners:
            listener.breaks += 1
        for number in list(self._waiting):
            self._give_up(number)

    def _arrived(
        self, number: int, verb: str, words: tuple[Any, ...], named: dict[str, Any],
        back_s: float | None,
    ) -> None:  # fmt: skip
        given_up = number not in self._waiting
        if self.weather.is_down:
            error = Unavailable(f"{verb}: the simulated broker is away")
            self.loop.post(self.loop.world, self.delay_s(), self._answer, number, None, error)
        elif not given_up or (self.weather.late and verb not in TAKES):
            answer, error = self._carry_out(verb, words, named), None
            if back_s is not None:
                self.loop.post(self.loop.world, back_s, self._answer, number, answer, error)

    def _answer(self, number: int, answer: Any, error: Exception | None) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting[1](answer, error)

    def _give_up(self, number: int) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            verb, told = waiting
            told(None, OutcomeUnknown(f"{verb}: no answer came, call again with the same words"))

    def _carry_out(self, verb: str, words: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if self._writes is not None and verb not in _READS:
            now = (self.clock.wall_ms(), self.clock.boot_ms(), self.clock.boot_id)
            self._writes.append(_Write(*now, verb, words, named))
        fences = self.referee.fences(verb, words, self.store)
        answer = getattr(self.broker, verb)(*words, **named)
        self.referee.sees(verb, words, answer, self.store, fences)
        if verb in self.fails_at and (answer[1] if verb == "cycle" else answer).jobs:
            self.cut()
        return answer

    def fail_over(self, forgotten: int) -> tuple[Store, MemoryBroker]:
        """Go on, on another machine, with a store that never saw the last writes.

        Returns:
            The store before, and a copy of its broker to look into.
        """
        assert self._writes is not None
        before, whole = self.store, self._replayed(self._writes)
        # The queue's registration is older than any failover.
        self._writes = self._writes[: max(1, len(self._writes) - forgotten)]
        copy = self._replayed(self._writes)
        self.clock.reboot()
        copy.store.clock = self.clock
        copy.store.wakeups = before.wakeups
        self.broker = copy
        return before, whole

    def _replayed(self, writes: Sequence[_Write]) -> MemoryBroker:
        clock = _Replayed()
        copy = self._make(clock)
        for one in writes:
            clock.wall, clock.boot, clock.boot_id = one.wall_ms, one.boot_ms, one.boot_id
            getattr(copy, one.verb)(*one.words, **one.named)
        return copy


class SimulatedListener:
    """A place where the broker wakes a sleeper; a wake-up travels as every message does."""

    def __init__(self, server: Server, descriptor: int) -> None:
        """Listen at a virtual descriptor."""
        self._server = server
        self._descriptor = descriptor
        self._is_woken = False
        self.token = f"listener-{descriptor}"
        self.breaks = 0

    def fileno(self) -> int:
        """Return the virtual descriptor, -1 once closed."""
        return self._descriptor

    def wake(self) -> None:
        """Let the sleeper know; nothing arrives while the network is down, or at times."""
        server = self._server
        if not server.weather.is_down and server.random.random() >= server.weather.lost:
            server.loop.post(server.loop.world, server.delay_s(), self._arrived)

    def drain(self) -> bool:
        """Forget the wake-ups so far; return whether there was one."""
        was_woken, self._is_woken = self._is_woken, False
        return was_woken

    def wait(self, timeout_s: float) -> bool:
        """Never block: nobody in this world may."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the address up."""
        self._server.store.wakeups.remove_listener(self.token)
        self._descriptor = -1

    def _arrived(self) -> None:
        self._is_woken = True
        self._server.loop.readable(self._descriptor)


class SimulatedBroker:
    """The async face of the port for one process; a verb is a message there and one back."""

    #: Two rounds at once, as over a server, so that calls of one runner overtake each other.
    rounds_at_once = 2

    def __init__(self, server: Server) -> None:
        """Call `server`."""
        self._server = server

    async def listen(self) -> SimulatedListener:
        """Open a place to be woken at."""
        return self._server.listen()

    async def close(self) -> None:
        """Do nothing: connections are not simulated."""

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """Return a verb of the port, awaited."""
        if verb.startswith("_"):
            raise AttributeError(verb)

        async def call(*words: Any, **named: Any) -> Any:
            loop = self._server.loop
            answered = loop.create_future()
            caller = PROCESS.get()

            def told(answer: Any, error: Exception | None) -> None:
                if caller.is_dead or answered.done():
                    return
                if error is None:
                    answered.set_result(answer)
                else:
                    answered.set_exception(error)

            self._server.send(verb, words, named, told)
            return await answered

        call.__name__ = verb
        return call
