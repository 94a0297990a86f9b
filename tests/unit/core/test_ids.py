"""Job ids: time-ordered, and they carry their queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.ids import (
    QUEUE_TAG_MAX,
    JobIdSource,
    check_job_id,
    enqueued_at_of,
    make_job_id,
    queue_tag_of,
)
from penstock.errors import BadSetting

MS = st.integers(0, 2**48 - 1)
SEQUENCE = st.integers(0, 2**16 - 1)
TAG = st.integers(0, QUEUE_TAG_MAX)
RANDOM = st.integers(0, 2**48 - 1)


@given(at_ms=MS, sequence=SEQUENCE, tag=TAG, random_48=RANDOM)
def test_the_parts_can_be_read_back(at_ms: int, sequence: int, tag: int, random_48: int) -> None:
    """Tag and instant stand in the id, which is 32 hexadecimal digits."""
    job_id = make_job_id(at_ms, sequence, tag, random_48)
    assert check_job_id(job_id) == job_id
    assert queue_tag_of(job_id) == tag
    assert enqueued_at_of(job_id) == at_ms


@given(first=st.tuples(MS, SEQUENCE, TAG, RANDOM), second=st.tuples(MS, SEQUENCE, TAG, RANDOM))
def test_text_order_is_order_of_time_and_sequence(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int]
) -> None:
    """Ids compare as their parts do, instant before sequence before tag."""
    assert (make_job_id(*first) < make_job_id(*second)) == (first < second)


@given(
    steps=st.lists(
        st.tuples(st.integers(-5, 5), st.integers(1, QUEUE_TAG_MAX), RANDOM), max_size=60
    )
)
def test_a_source_only_rises(steps: list[tuple[int, int, int]]) -> None:
    """However the clock moves and whatever queue is next, each id is greater than the last."""
    source, now, last = JobIdSource(), 1_000, ""
    for step, tag, random_48 in steps:
        now += step
        job_id = source.draw(now, tag, random_48)
        assert job_id > last
        assert queue_tag_of(job_id) == tag
        last = job_id


def test_a_source_borrows_from_the_next_millisecond() -> None:
    """After 65,536 ids in one millisecond the ids go on rising, and the clock catches up."""
    source = JobIdSource()
    drawn = [source.draw(1_000, 1, 2**48 - 1) for _ in range(2**16 + 3)]
    assert len(set(drawn)) == len(drawn)
    assert drawn == sorted(drawn)
    assert enqueued_at_of(drawn[2**16 - 1]) == 1_000
    assert enqueued_at_of(drawn[2**16]) == 1_001
    assert enqueued_at_of(source.draw(1_002, 1, 0)) == 1_002


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0" * 31,
        "0" * 33,
        "A" * 32,
        "g" * 32,
        "0" * 32 + "\n",
        " " + "0" * 31,
        None,
        0,
        b"0" * 32,
    ],
)
def test_what_is_no_id_is_refused(value: object) -> None:
    """Upper case, other lengths, other signs and other types are no id."""
    with pytest.raises(BadSetting, match="32 hexadecimal digits"):
        check_job_id(value)
