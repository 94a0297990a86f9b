"""Paged indexes on Redis are ordered sets of byte strings, however they are filled and emptied."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from tests.support.redis_pages import Pages, pages_text, real_page_max
from tests.support.redis_server import RedisServer

#: Entries of few bytes, of all values, so that they meet, and one begins another.
SHORT = st.binary(min_size=1, max_size=3) | st.lists(
    st.sampled_from([b"\x00", b"a", b"b", b"\x7f", b"\x80", b"\xff"]), min_size=1, max_size=4
).map(b"".join)
#: Entries as a ready set has them: priority, instant, id.
LONG = st.tuples(st.integers(0, 10), st.integers(0, 400)).map(
    lambda one: bytes([one[0]]) + one[1].to_bytes(6) + bytes(6) + one[1].to_bytes(8)
)


class PagesMachine(RuleBasedStateMachine):
    """A sorted list beside the index: what it is asked for must be the same."""

    client: Redis
    page_max: int
    kind: st.SearchStrategy[bytes]
    batch_max: int
    lua: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.pages = Pages(self.client, self.page_max, self.lua)
        self.model: list[bytes] = []

    def _put(self, entries: set[bytes]) -> None:
        new = sorted(entries.difference(self.model))
        if new:
            self.pages.put(new)
            self.model = sorted([*self.model, *new])

    @rule(data=st.data())
    def put_anywhere(self, data: st.DataObject) -> None:
        """A batch that may stand between others, entry by entry."""
        self._put(set(data.draw(st.lists(self.kind, min_size=1, max_size=self.batch_max))))

    @rule(data=st.data(), count=st.integers(1, 4))
    def put_beside(self, data: st.DataObject, count: int) -> None:
        """A batch without another entry in between: in front, at the end, behind any entry."""
        start = data.draw(st.sampled_from([*self.model, b"\x00"]))
        size = data.draw(st.sampled_from([count, self.page_max, self.batch_max]))
        self._put({start + b"\x00" + number.to_bytes(2) for number in range(size)})

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def take_one(self, data: st.DataObject) -> None:
        """An entry leaves from anywhere."""
        entry = data.draw(st.sampled_from(self.model))
        self.pages.take_out(entry)
        self.model.remove(entry)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def take_many(self, data: st.DataObject) -> None:
        """Entries that stand side by side leave one by one, whole pages among them."""
        at = data.draw(st.integers(0, len(self.model) - 1))
        many = data.draw(st.sampled_from([1, 3, self.page_max, 3 * self.page_max]))
        for entry in self.model[at : at + many]:
            self.pages.take_out(entry)
        del self.model[at : at + many]

    @rule(data=st.data())
    def take_none(self, data: st.DataObject) -> None:
        """What is not there cannot leave."""
        entry = data.draw(self.kind)
        if entry not in self.model:
            self.pages.take_out(entry)

    @rule(data=st.data())
    def look_from(self, data: st.DataObject) -> None:
        """The first one from anywhere on is found."""
        start = data.draw(self.kind | st.sampled_from([b"", *self.model]))
        at = bisect.bisect_left(self.model, start)
        assert self.pages.first_from(start) == (self.model[at] if at < len(self.model) else None)

    @rule(data=st.data(), count=st.integers(0, 400))
    def look_at_ends(self, data: st.DataObject, count: int) -> None:
        """The first ones and the last ones, from the end or from anywhere, are found in order."""
        assert self.pages.first_entries(count) == self.model[:count]
        below = data.draw(self.kind | st.sampled_from([b"", *self.model]))
        before = self.model if below == b"" else self.model[: bisect.bisect_left(self.model, below)]
        assert self.pages.last_entries(below, count) == before[::-1][:count]

    @invariant()
    def the_pages_are_in_order(self) -> None:
        """Page by page, the index is the list."""
        assert self.pages.entries() == self.model


@pytest.fixture(scope="module")
def client(redis: RedisServer) -> Iterator[Redis]:
    """A client on the server of this module."""
    with closing(redis.client()) as made:
        yield made


@pytest.mark.parametrize("page_max", [2, 5])
def test_small_pages_are_an_ordered_set(client: Redis, page_max: int) -> None:
    """With pages that split and end all the time."""

    class Small(PagesMachine):
        kind = SHORT
        batch_max = 12

    Small.client, Small.page_max = client, page_max
    run_state_machine_as_test(Small, settings=lives(60))


def test_real_pages_are_an_ordered_set(client: Redis) -> None:
    """With pages of the size that they have, and batches that fill some of them."""

    class Real(PagesMachine):
        kind = LONG
        batch_max = 3 * real_page_max()

    Real.client, Real.page_max = client, real_page_max()
    run_state_machine_as_test(Real, settings=lives(30))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("if newest and is_before(entries[1], newest) then", "if false then"),
        ("if last > 1 and page_of(index, entries[last]) ~= name then", "if false then"),
        ("if name and is_before(entries[1], name) then", "if false then"),
        ("local room = PAGE_MAX - redis.call('ZCARD', page)", "local room = PAGE_MAX"),
        ("    redis.call('ZREM', index, name)\n", ""),
        ("if found then\n      return found", "if found then\n      return nil"),
        ("'(' .. name, '-', 'LIMIT', 0, 1)[1]", "'(' .. name, '-', 'LIMIT', 1, 1)[1]"),
    ],
)
def test_the_machine_finds_a_planted_bug(client: Redis, right: str, wrong: str) -> None:
    """Without a line of `pages.lua` the machine comes upon a difference: it can fail."""
    text = pages_text(3)
    assert text.count(right) == 1, right

    class Planted(PagesMachine):
        kind = SHORT
        batch_max = 12
        page_max = 3
        lua = text.replace(right, wrong)

    Planted.client = client
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            Planted, settings=settings(lives(100), derandomize=True, phases=[Phase.generate])
        )


def lives(count: int) -> settings:
    """Return how long to search."""
    return settings(
        max_examples=count,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
