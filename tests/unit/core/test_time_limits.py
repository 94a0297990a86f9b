"""Which time limit holds: the call's, the task's, or the setting's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock import App
from penstock.config.resolve import load
from penstock.core.time_limits import limits_ms
from penstock.errors import BadSetting


class Said(msgspec.Struct, frozen=True):
    """One that says something of limits, or nothing."""

    soft_timeout_ms: int | None = None
    timeout_ms: int | None = None


@pytest.mark.parametrize(
    ("call", "task", "setting", "expected"),
    [
        (Said(), Said(), Said(), (0, 0)),
        (Said(), None, Said(5, 6), (5, 6)),
        (Said(), Said(), Said(5, 6), (5, 6)),
        (Said(), Said(3, 4), Said(5, 6), (3, 4)),
        (Said(1, 2), Said(3, 4), Said(5, 6), (1, 2)),
        (Said(1, None), Said(None, 4), Said(5, 6), (1, 4)),
        (Said(), Said(0, 0), Said(5, 6), (0, 0)),
        (Said(0, 0), Said(3, 4), Said(5, 6), (0, 0)),
        (Said(), Said(None, 0), Said(5, 6), (5, 0)),
    ],
)
def test_nearest_word_counts(
    call: Said, task: Said | None, setting: Said, expected: tuple[int, int]
) -> None:
    """Call > task > setting, for each limit by itself; 0 is a word: none."""
    assert limits_ms(call, task, setting) == expected


def test_settings_give_limits_to_tasks_that_say_nothing(tmp_path: Path) -> None:
    """Flag > app > environment > file; by default there is no limit; 0 and "" mean none."""
    assert limits_ms(load(environ={}, directory=tmp_path).settings) == (0, 0)
    (tmp_path / "penstock.toml").write_text('timeout = "4s"\nsoft_timeout = 1\n')
    sources: list[dict[str, dict[str, str]]] = [
        {"environ": {}},
        {"environ": {"PENSTOCK_TIMEOUT": "3"}},
        {"environ": {"PENSTOCK_TIMEOUT": "3"}, "app": {"timeout": "2s"}},
        {"environ": {}, "app": {"timeout": "2s"}, "flags": {"timeout": "1s"}},
        {"environ": {"PENSTOCK_TIMEOUT": "0", "PENSTOCK_SOFT_TIMEOUT": ""}},
    ]
    found = [limits_ms(load(directory=tmp_path, **one).settings) for one in sources]
    assert found == [(1_000, 4_000), (1_000, 3_000), (1_000, 2_000), (1_000, 1_000), (0, 0)]
    with pytest.raises(BadSetting, match=r"setting timeout from PENSTOCK_TIMEOUT: .*'soon'"):
        load(environ={"PENSTOCK_TIMEOUT": "soon"}, directory=tmp_path)


def test_facts_tell_no_limit_from_nothing_said() -> None:
    """A supervisor learns of timeout=0 as 0, and of a task that names none as None."""
    app = App("memory://")
    app.task(name="silent")(print)
    app.task(name="none", timeout=0, soft_timeout=0)(len)
    facts = [(one.soft_timeout_ms, one.timeout_ms) for one in app.manifest().tasks]
    assert facts == [(None, None), (0, 0)]
