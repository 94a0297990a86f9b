"""Event sinks observe, and harm nobody."""

from __future__ import annotations

import logging

import pytest

from penstock.core.ids import JobId
from penstock.telemetry.events import Event, LeaseLost, tell

EVENT = LeaseLost(id=JobId("j"), task="t", queue="q", attempt=1)


def test_every_sink_is_told() -> None:
    """Each sink gets the same value."""
    seen: list[Event] = []
    tell([seen.append, seen.append], EVENT)
    assert seen == [EVENT, EVENT]


def test_a_sink_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A failing sink is named in the log, and the next one is told all the same."""
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError(event)

    with caplog.at_level(logging.ERROR, "penstock.telemetry"):
        tell([broken, seen.append], EVENT)
    assert seen == [EVENT]
    assert "broken" in caplog.text


def test_events_cannot_be_changed() -> None:
    """A sink cannot change what the next one sees."""
    with pytest.raises(AttributeError):
        EVENT.task = "other"  # type: ignore[misc] # that is the point
