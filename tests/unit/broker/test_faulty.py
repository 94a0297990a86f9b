"""A broker that fails where its plan says, and nowhere else."""

from __future__ import annotations

import pytest

from penstock.broker.protocol import Broker
from penstock.brokers.memory import MemoryBroker
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.testing import Call, Fault, FaultyBroker, ManualClock, fail_nth


def queues_of(broker: Broker) -> list[str]:
    """Return the queues that are really registered."""
    return [counts.queue for counts in broker.counts()]


def test_it_is_a_broker() -> None:
    """It has the whole port; mypy checks the types of these lines."""
    real = MemoryBroker(ManualClock())
    broker: Broker = FaultyBroker(real, fail_nth(1, Fault.REFUSE))
    assert broker.describe() == real.describe()


def test_a_refused_call_writes_nothing() -> None:
    """The error is definite, the call was not made, and the next one is."""
    real = MemoryBroker(ManualClock())
    broker = FaultyBroker(real, fail_nth(1, Fault.REFUSE))
    with pytest.raises(Unavailable, match=r"call 1 \(register\)"):
        broker.register(["q"])
    assert queues_of(real) == []
    broker.register(["q"])
    assert queues_of(real) == ["q"]


def test_a_lost_reply_wrote() -> None:
    """The error is not definite, and the call was made."""
    real = MemoryBroker(ManualClock())
    broker = FaultyBroker(real, fail_nth(1, Fault.LOSE_REPLY))
    with pytest.raises(OutcomeUnknown, match=r"call 1 \(register\)"):
        broker.register(["q"])
    assert queues_of(real) == ["q"]


def test_a_call_is_made_twice() -> None:
    """The second answer is returned."""
    real = MemoryBroker(ManualClock())
    inner = FaultyBroker(real, fail_nth(0, Fault.NONE))
    broker = FaultyBroker(inner, fail_nth(1, Fault.TWICE))
    assert broker.register(["q"]) == {"q": 1}
    assert [call.verb for call in inner.calls] == ["register", "register"]


def test_a_plan_sees_every_call() -> None:
    """Calls are numbered over all verbs and for each verb, failed ones too."""
    seen: list[Call] = []

    def plan(call: Call) -> Fault:
        seen.append(call)
        return Fault.NONE

    broker = FaultyBroker(MemoryBroker(ManualClock()), plan)
    broker.register(["q"])
    broker.counts()
    broker.register(["r"])
    assert seen == broker.calls
    assert seen == [Call(1, "register", 1), Call(2, "counts", 1), Call(3, "register", 2)]


def test_one_call_of_one_verb_can_be_chosen() -> None:
    """`fail_nth` with a verb counts the calls of that verb alone."""
    broker = FaultyBroker(MemoryBroker(ManualClock()), fail_nth(2, Fault.REFUSE, verb="register"))
    broker.counts()
    broker.register(["q"])
    broker.counts()
    with pytest.raises(Unavailable):
        broker.register(["r"])
    broker.register(["r"])
