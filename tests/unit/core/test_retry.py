"""How long to wait before the next attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.retry import (
    BACKOFF_DEFAULT,
    CRASHES_MAX,
    POLICY_DEFAULT,
    RETRIES_DEFAULT,
    Backoff,
    Exponential,
    Jitter,
)
from penstock.errors import BadSetting

UNIT = st.floats(0, 1, exclude_max=True)
FAILURES = st.integers(1, 10_000)
BACKOFFS = st.builds(
    lambda base, factor, jitter: Backoff(base, base * factor, jitter),
    st.integers(0, 10**6),
    st.integers(1, 10**6),
    st.sampled_from(["full", "equal", "none"]),
)


def test_waits_double_up_to_the_cap() -> None:
    """Without jitter the waits are base, twice, four times, ... and never more than the cap."""
    backoff = Backoff(2_000, 15_000, "none")
    assert [backoff.delay_ms(n, 0.9) for n in range(1, 6)] == [2_000, 4_000, 8_000, 15_000, 15_000]


@pytest.mark.parametrize(
    ("jitter", "least", "middle"),
    [("full", 0, 4_000), ("equal", 4_000, 6_000), ("none", 8_000, 8_000)],
)
def test_jitter_spreads_the_wait(jitter: Jitter, least: int, middle: int) -> None:
    """Full jitter starts at nothing, equal jitter at half, none does not spread."""
    backoff = Backoff(2_000, 60_000, jitter)
    assert backoff.delay_ms(3, 0.0) == least
    assert backoff.delay_ms(3, 0.5) == middle
    assert backoff.delay_ms(3, 0.999_999) <= 8_000


@given(backoff=BACKOFFS, failures=FAILURES, unit=UNIT)
def test_no_wait_is_negative_or_over_the_cap(backoff: Backoff, failures: int, unit: float) -> None:
    """However often it failed, the wait is a whole number from 0 to the cap."""
    wait = backoff.delay_ms(failures, unit)
    assert isinstance(wait, int)
    assert 0 <= wait <= backoff.cap_ms


@given(backoff=BACKOFFS, failures=FAILURES, unit=UNIT)
def test_waits_never_shrink_with_failures(backoff: Backoff, failures: int, unit: float) -> None:
    """With the same draw a later failure waits at least as long."""
    assert backoff.delay_ms(failures + 1, unit) >= backoff.delay_ms(failures, unit)


def test_exponential_reads_durations() -> None:
    """Text, seconds and timedelta may be mixed."""
    assert Exponential(base=2, cap=timedelta(minutes=15), jitter="none") == Backoff(
        2_000, 900_000, "none"
    )
    assert Exponential() == BACKOFF_DEFAULT == Backoff(2_000, 900_000, "full")


def test_exponential_refuses_what_makes_no_sense() -> None:
    """A base over its cap, an unreadable duration and an unknown jitter are named."""
    with pytest.raises(BadSetting, match="over its cap"):
        Exponential(base="1h", cap="1min")
    with pytest.raises(BadSetting, match="backoff base"):
        Exponential(base="soon")
    with pytest.raises(BadSetting, match="'some'"):
        Exponential(jitter="some")  # type: ignore[arg-type] # what a user may write


def test_defaults_are_those_of_the_documents() -> None:
    """Three further attempts, three crashes."""
    assert (POLICY_DEFAULT.retries, POLICY_DEFAULT.crashes_max) == (RETRIES_DEFAULT, CRASHES_MAX)
    assert (RETRIES_DEFAULT, CRASHES_MAX) == (3, 3)
