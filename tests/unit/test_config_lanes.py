"""The light lane in the settings file: one line, or a setting each."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config.resolve import load
from penstock.errors import BadSetting


def test_a_lane_is_its_settings(tmp_path: Path) -> None:
    """What the line does not say is as by default; the environment wins as over any file."""
    line = 'light = { reserve = 3, max_runtime = "2s" }'
    (tmp_path / "penstock.toml").write_text(f"concurrency = 2\n[lanes]\n{line}\n")
    found = load(environ={}, directory=tmp_path).settings
    told = (found.light_slots, found.light_runtime_max_ms, found.light_memory_max)
    assert told == (3, 2_000, 128 * 2**20)
    again = load(environ={"PENSTOCK_LIGHT": "0"}, directory=tmp_path).settings
    assert again.light_slots == 0


@pytest.mark.parametrize(("concurrency", "slots"), [("1", 1), ("2", 1), ("3", 1), ("8", 4)])
def test_unsaid_the_lane_has_half_of_the_slots(
    tmp_path: Path, concurrency: str, slots: int
) -> None:
    """At least one: a worker of a single slot is the one that needs it most."""
    found = load(environ={"PENSTOCK_CONCURRENCY": concurrency}, directory=tmp_path).settings
    assert found.light_slots == slots


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[lanes]\nheavy = {}\n", "names no lane: write"),
        ("lanes = 3\n", "names no lane: write"),
        ("[lanes]\nlight = {}\nheavy = {}\n", "lane 'heavy'"),
        ("[lanes]\nlight = { slots = 3 }\n", "use reserve, max_runtime, max_memory"),
        ("light = 1\n[lanes]\nlight = { reserve = 3 }\n", "are the same setting"),
        ("[lanes]\nlight = { reserve = -1 }\n", "light from .*-1 is not a whole number"),
    ],
)
def test_a_mistake_in_the_lane_is_named(tmp_path: Path, text: str, cause: str) -> None:
    """The file, what stands there, and what may stand there."""
    (tmp_path / "penstock.toml").write_text(text)
    with pytest.raises(BadSetting, match=cause):
        load(environ={}, directory=tmp_path)
