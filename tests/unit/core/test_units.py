"""Durations and sizes as people write them."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.units import DURATION_MS_MAX, duration_ms, size_bytes
from penstock.errors import BadSetting


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0), (1, 1_000), (0.25, 250), (1.0006, 1_001),
        (timedelta(seconds=1.5), 1_500), (timedelta(0), 0), (timedelta(days=2), 172_800_000),
        ("30s", 30_000), ("30 s", 30_000), (" 30s ", 30_000), ("15min", 900_000), ("15m", 900_000),
        ("1h", 3_600_000), ("7d", 604_800_000), ("250ms", 250), ("0s", 0), ("1.5h", 5_400_000),
        ("1h30min", 5_400_000), ("1d 2h 3min 4s 5ms", 93_784_005), ("0.1s", 100),
        (DURATION_MS_MAX / 1_000, DURATION_MS_MAX), ("36500d", DURATION_MS_MAX),
    ],
)  # fmt: skip
def test_durations_are_read(value: object, ms: int) -> None:
    """Seconds, timedelta and text become whole milliseconds."""
    assert duration_ms(value) == ms


#: Durations but for their sign.
BELOW_ZERO = [-1, -0.001, timedelta(seconds=-1), -math.inf, "-1s"]


@pytest.mark.parametrize(
    "value",
    [
        -1, -0.001, timedelta(seconds=-1), math.nan, math.inf, -math.inf, 10**12, True, None, [],
        b"30s", "", " ", "30", "s", "-1s", "1x", "1h foo", "1s-", "1,5h", "\u0661s", "1e3s", "30 S",
        "36501d", "nan", "1h30", "1..5s", "inf s",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused(value: object) -> None:
    """The message names the setting, the value and the ways to write one."""
    with pytest.raises(BadSetting) as refused:
        duration_ms(value, name="timeout")
    message = str(refused.value)
    assert message.startswith("timeout ")
    assert repr(value) in message
    assert "'30s'" in message
    assert ("must not be negative" in message) == (value in BELOW_ZERO)


@pytest.mark.parametrize(("text", "ms"), [("30", 30_000), ("0.5", 500), ("1e3", 10**6), ("0", 0)])
def test_a_number_from_outside_is_seconds(text: str, ms: int) -> None:
    """In a flag, a variable or a file text without a unit is seconds; in a program it is not."""
    assert duration_ms(text, is_outside=True) == ms
    with pytest.raises(BadSetting, match="give seconds, timedelta, or text"):
        duration_ms(text)


@pytest.mark.parametrize("text", ["-5", "-5s", "soon", "nan", "inf", "1e400", "-" * 5_000])
def test_what_is_no_duration_from_outside_is_refused(text: str) -> None:
    """The message has the value once and cut, and names only what can be written there."""
    with pytest.raises(BadSetting) as refused:
        duration_ms(text, is_outside=True)
    message = str(refused.value)
    assert message.startswith(f"{text!r:.80} is not a duration: ")
    assert "timedelta" not in message
    assert ("must not be negative" in message) == (text in {"-5", "-5s"})


@given(ms=st.integers(0, DURATION_MS_MAX))
def test_milliseconds_survive_each_way_of_writing(ms: int) -> None:
    """What is written as text or as timedelta is read as what was meant."""
    assert duration_ms(f"{ms}ms") == ms
    assert duration_ms(timedelta(milliseconds=ms)) == ms


@given(text=st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text crashes the reader, and none gives a number outside the bounds."""
    with suppress(BadSetting):
        assert 0 <= duration_ms(text) <= DURATION_MS_MAX


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0), (1, 1), (2**40, 2**40), ("0B", 0), ("1B", 1), ("1KiB", 1024), ("512MiB", 2**29),
        ("2GiB", 2**31), ("1TiB", 2**40), ("500MB", 5 * 10**8), ("1KB", 1000), ("1GB", 10**9),
        ("1TB", 10**12), ("1.5GiB", 3 * 2**29), (" 2 GiB ", 2**31),
    ],
)  # fmt: skip
def test_sizes_are_read(value: object, size: int) -> None:
    """Bytes and text become whole bytes; Ki is 1024, K is 1000."""
    assert size_bytes(value) == size


@pytest.mark.parametrize(
    "value",
    [
        -1,
        1.5,
        True,
        None,
        b"1B",
        "",
        "2",
        "GiB",
        "-1GiB",
        "2 gib",
        "2GIB",
        "2G",
        "1e3B",
        "\u0662GiB",
        "1PB",
    ],
)
def test_what_is_no_size_is_refused(value: object) -> None:
    """A number in text without a unit is refused too: its unit would be a guess."""
    with pytest.raises(BadSetting) as refused:
        size_bytes(value, name="memory")
    assert str(refused.value).startswith("memory ")
    assert repr(value) in str(refused.value)
