"""Settlements that a server has forgotten are made again, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import msgspec
import pytest

from penstock.broker.requests import Durability
from penstock.broker.threaded import ThreadedBroker
from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import Fence
from penstock.core.lifecycle import State
from penstock.core.settlement import Applied, Settlement
from penstock.errors import Unavailable
from penstock.testing.clock import ManualClock
from penstock.worker import reminder as module
from penstock.worker.reminder import Reminder
from tests.support.port_actor import PortActor, completions


@pytest.fixture
def actor() -> Iterator[PortActor]:
    """An empty broker."""
    with closing(MemoryBroker(ManualClock())) as broker:
        yield PortActor(broker)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AFTER_S", 0.0)


def kept_then(
    actor: PortActor,
    act: Callable[[Reminder], object],
    result: bytes = b"1",
    durability: Durability = Durability.LOCAL,
) -> State:
    """Let a reminder keep a settlement that the broker does not have, then let it `act`.

    Returns:
        The state of the job once the reminder has done what it does.
    """
    actor.put()
    (job,) = actor.take(1)

    async def main() -> None:
        broker = ThreadedBroker(actor.broker)
        reminder = Reminder(broker.settle)
        with closing(actor.broker.listen()) as listener:
            reminder.watch([listener], durability)
            reminder.keep(completions([job], result), [Applied.APPLIED])
            act(reminder)
            reminder.answered()
            # Its timer and its task have their turns.
            await asyncio.sleep(0.01)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others)

    asyncio.run(main())
    record = actor.broker.get(job.id)
    assert record is not None
    return record.state


def break_off(reminder: Reminder) -> None:
    """Lose the connection of the first listener."""
    reminder._listeners[0].breaks += 1  # type: ignore[misc]  # the memory broker's can be set


def test_what_a_server_forgot_is_written_again(actor: PortActor) -> None:
    """After its connection broke the settlement is made again, under the same fence."""
    assert kept_then(actor, break_off) is State.COMPLETED


def test_a_call_that_failed_is_a_cause_too(actor: PortActor) -> None:
    """The server may have gone while no listener had a connection to lose."""
    assert kept_then(actor, Reminder.failed) is State.COMPLETED


def test_nothing_is_kept_where_answers_are_on_the_disk(actor: PortActor) -> None:
    """In class `fsync` no settlement that was answered can be forgotten."""
    assert kept_then(actor, Reminder.failed, durability=Durability.FSYNC) is State.RUNNING


def test_nothing_is_made_again_without_a_cause(actor: PortActor) -> None:
    """A server that was there all along has forgotten nothing, and is asked nothing."""
    assert kept_then(actor, lambda _reminder: None) is State.RUNNING


def test_a_result_too_large_to_be_kept_is_made_anew(
    actor: PortActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job goes back to the queue and runs again, rather than to complete without it."""
    monkeypatch.setattr(module, "_KEPT_BYTES_MAX", 10)
    assert kept_then(actor, break_off, b'"%s"' % (b"x" * 20)) is State.QUEUED


def test_what_is_old_is_let_go(actor: PortActor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A settlement is kept for some seconds, and more than so many not at all."""
    monkeypatch.setattr(module, "_KEPT_MAX", 3)

    def go_on(reminder: Reminder) -> None:
        actor.put(3)
        others = completions(actor.take(3))
        reminder.keep(others, actor.broker.settle(others))
        break_off(reminder)

    assert kept_then(actor, go_on) is State.RUNNING


def test_what_was_refused_is_not_kept(actor: PortActor) -> None:
    """A stale settlement is never made again; the others of its call are."""
    made: list[Settlement] = []

    async def settle(settlements: Sequence[Settlement]) -> Sequence[Applied]:
        made.extend(settlements)
        if len(made) == 1:
            raise Unavailable("not yet")
        return [Applied.STALE] * len(settlements)

    async def main() -> None:
        reminder = Reminder(settle)
        with closing(actor.broker.listen()) as listener:
            reminder.watch([listener], Durability.LOCAL)
            actor.put(2)
            stale, written = completions(actor.take(2))
            reminder.keep([stale, written], [Applied.STALE, Applied.APPLIED])
            break_off(reminder)
            reminder.answered()
            await asyncio.sleep(0.01)
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
            assert made == [written, written], "the first try was refused, and made again"
            # It was not lost this time, but it is still new: the next crash may take it.
            break_off(reminder)
            reminder.answered()
            await asyncio.sleep(0.01)
            assert made == [written] * 3

    asyncio.run(main())


def test_two_attempts_of_one_job_go_in_two_calls(actor: PortActor) -> None:
    """In the order in which they ended, and each of them once however often it was kept."""
    calls: list[list[Fence]] = []

    async def settle(settlements: Sequence[Settlement]) -> Sequence[Applied]:
        calls.append([one.fence for one in settlements])
        return [Applied.APPLIED] * len(settlements)

    async def main() -> None:
        reminder = Reminder(settle)
        with closing(actor.broker.listen()) as listener:
            reminder.watch([listener], Durability.LOCAL)
            actor.put(2)
            one, other = completions(actor.take(2))
            again = msgspec.structs.replace(one, fence=Fence("2" * 32))
            for kept in ([one, other], [one], [again]):
                reminder.keep(kept, [Applied.APPLIED] * len(kept))
            break_off(reminder)
            reminder.answered()
            await asyncio.sleep(0.01)
            assert calls == [[one.fence, other.fence], [again.fence]]

    asyncio.run(main())
