"""What the memory broker has beyond the contract: one process, one store, sorted indexes."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.broker.protocol import Broker
from penstock.brokers.memory import MemoryBroker, Store
from penstock.brokers.memory.ordered import Ordered
from penstock.errors import WrongContext
from penstock.testing import ManualClock


def test_it_is_a_broker() -> None:
    """It has the whole port; mypy checks the types of this line."""
    broker: Broker = MemoryBroker(ManualClock())
    assert broker.describe().kind == "memory"


def test_handles_share_a_store_only_if_they_are_given_it() -> None:
    """Two brokers are two worlds, two handles on one store are one."""
    clock = ManualClock()
    first, stranger = MemoryBroker(clock), MemoryBroker(clock)
    twin = MemoryBroker(clock, store=first.store)
    first.register(["q"])
    assert [counts.queue for counts in twin.counts()] == ["q"]
    assert list(stranger.counts()) == []


def test_a_forked_child_is_told_to_use_another_broker() -> None:
    """A copy of the store would swallow jobs unseen, so a child that uses it gets an error."""
    broker = MemoryBroker(ManualClock())
    with warnings.catch_warnings():
        # Python 3.12 and later warn of a fork beside a thread that an earlier test may have left.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            broker.register(["q"])
        except WrongContext as error:
            status = 0 if "sqlite" in str(error) else 2
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(waited) == 0


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_closed_listener_gives_its_descriptor_back() -> None:
    """Opening and closing listeners leaks no descriptor; closing twice is closing once."""
    broker = MemoryBroker(ManualClock(), store=Store(ManualClock()))
    before = open_descriptors()
    for _ in range(50):
        listener = broker.listen()
        listener.close()
        listener.close()
        assert listener.fileno() == -1
    assert open_descriptors() == before


@given(
    steps=st.lists(st.tuples(st.booleans(), st.tuples(st.integers(0, 5), st.integers(0, 5)))),
    bound=st.tuples(st.integers(0, 6), st.integers(0, 6)),
)
def test_ordered_is_a_sorted_set(
    steps: list[tuple[bool, tuple[int, int]]], bound: tuple[int, int]
) -> None:
    """Whatever is added and removed, the entries stand in order, and `below` counts them."""
    ordered: Ordered[tuple[int, int]] = Ordered()
    model: set[tuple[int, int]] = set()
    for is_added, entry in steps:
        if is_added and entry not in model:
            ordered.add(entry)
            model.add(entry)
        elif entry in model:
            ordered.remove(entry)
            model.remove(entry)
        else:
            with pytest.raises(KeyError):
                ordered.remove(entry)
    assert list(ordered) == sorted(model)
    assert len(ordered) == len(model)
    assert ordered.below(bound) == sum(entry < bound for entry in model)
