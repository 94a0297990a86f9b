"""`[queues.*]`, `[routes]` and `[profiles.*]`: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config.resolve import load
from penstock.config.tables import Tables
from penstock.core.retry import Backoff
from penstock.errors import BadSetting

FILE = """
processes = 2

[queues.training]
concurrency = 1
priority = 5
memory = "4GB"
timeout = 7200
soft_timeout = "1h"
backoff = { base = "60s", cap = "1h", jitter = "none" }

[queues.mail]

[routes]
"train.*" = "training"
"mail.send" = { queue = "mail", retries = 2 }

[profiles]
app = "lab.jobs:app"

[profiles.night]
drain_grace = "5s"

[profiles.night.training]
queues = ["training"]
memory = "8GB"
gpu_count = 1
restart_above = "10GB"

[profiles.night.mail]
queues = ["mail"]
min = 0
max = 3
"""


def tables(folder: Path, text: str) -> Tables:
    """Return the tables of a settings file with this text."""
    (folder / "penstock.toml").write_text(text)
    return load(environ={}, directory=folder).tables


def test_all_tables_are_read(tmp_path: Path) -> None:
    """Options stay as written, numbers are checked, and settings may stand beside the tables."""
    found = tables(tmp_path, FILE)
    assert found.queues["training"].concurrency == 1
    assert found.queues["training"].options["backoff"] == Backoff(60_000, 3_600_000, "none")
    assert found.queues["training"].options["memory"] == "4GB"
    assert found.queues["mail"].options == {}
    assert [(route.pattern, route.options) for route in found.routes] == [
        ("train.*", {"queue": "training"}),
        ("mail.send", {"queue": "mail", "retries": 2}),
    ]
    assert load(environ={}, directory=tmp_path).settings.processes == 2


def test_values_beside_the_workers_hold_for_all_of_them(tmp_path: Path) -> None:
    """A value of [profiles] or of a profile is each worker's, unless its own table says another."""
    profile = tables(tmp_path, FILE).profiles.by_name["night"]
    training, mail = profile.workers
    assert (training.app, mail.app) == ("lab.jobs:app", "lab.jobs:app")
    assert training.settings == {
        "drain_grace": "5s", "memory": "8GB", "restart_above": "10GB"
    }  # fmt: skip
    assert mail.settings == {"drain_grace": "5s"}
    assert (training.least, training.most, training.gpu_count) == (1, 1, 1)
    assert (mail.least, mail.most, mail.queues) == (0, 3, ("mail",))


def test_profiles_that_come_along_know_the_queues_of_the_file(tmp_path: Path) -> None:
    """`full` has a worker per queue; a profile of the file replaces one of the same name."""
    found = tables(tmp_path, FILE)
    profiles = found.profiles.all(found.queues)
    assert list(profiles) == ["minimal", "full", "datasets", "heavy", "light", "night"]
    assert [one.name for one in profiles["full"].workers] == ["training", "mail"]
    assert profiles["minimal"].workers[0].app == "lab.jobs:app"
    assert (profiles["light"].workers[0].least, profiles["heavy"].workers[0].least) == (2, 1)
    other = tables(tmp_path, '[profiles.light.light]\nqueues = "light"\ncount = 7\n')
    assert other.profiles.all(other.queues)["light"].workers[0].least == 7


def test_values_alone_change_a_profile_that_comes_along(tmp_path: Path) -> None:
    """`[profiles.light]` without a worker keeps the worker and changes what it says."""
    text = '[profiles.light]\nmax = 4\nmemory = "2GB"\n[profiles.full]\nrestart_above = "1GB"\n'
    found = tables(tmp_path, f"[queues.a]\n{text}")
    profiles = found.profiles.all(found.queues)
    [light], [full] = profiles["light"].workers, profiles["full"].workers
    assert (light.queues, light.least, light.most) == (("light",), 1, 4)
    assert light.settings["memory"] == "2GB"
    assert (full.queues, full.settings) == (("a",), {"restart_above": "1GB"})


def test_a_list_called_queues_is_still_the_setting(tmp_path: Path) -> None:
    """`queues = [...]` says what a worker serves, as it did before there were tables."""
    (tmp_path / "penstock.toml").write_text('queues = ["a", "b"]\n')
    assert load(environ={}, directory=tmp_path).settings.queues == ("a", "b")


def test_tables_may_stand_in_pyproject(tmp_path: Path) -> None:
    """`[tool.penstock.queues.a]` is `[queues.a]` of penstock.toml."""
    (tmp_path / "pyproject.toml").write_text("[tool.penstock.queues.a]\nconcurrency = 3\n")
    assert load(environ={}, directory=tmp_path).tables.queues["a"].concurrency == 3


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[queue.a]", r"table 'queue' of .*penstock.toml is unknown: there are \[queues\], "),
        ("[queues]\na = 1", r"a in \[queues\] of .*toml is 1, and no table"),
        ('[queues."a b"]', r"\[queues.a b\] of .*: queue name 'a b' is not allowed"),
        ("[queues.a]\nconcurency = 1", r"'concurency' in \[queues.a\] .* did you mean concurrency"),
        ("[queues.a]\nconcurrency = 0", r"concurrency in \[queues.a\] of .* is 0, .* from 1 to"),
        ("[queues.a]\npriority = 11", r"priority in \[queues.a\] of .*: priority 11 is not"),
        ("[queues.a]\ntimeout = 5\nsoft_timeout = 9", r"\[queues.a\] of .*: soft_timeout 9 is not"),
        ("[queues.a]\nbackoff = 3", r"backoff in \[queues.a\] of .*: 3 is not allowed: give a tab"),
        ("[queues.a]\non_dead = 'x'", r"key 'on_dead' in \[queues.a\] of .* is unknown"),
        ("[queues.a]\nqueue = 'x'", r"key 'queue' in \[queues.a\] of .* is unknown"),
        ("routes = 3", r"routes of .*penstock.toml is 3, and no table: write \[routes\]"),
        ('[routes]\n"a.*" = 3', r"'a.\*' in \[routes\] of .* is 3: give the name of a queue"),
        ('[routes]\n"a.*" = "b c"', r"queue in 'a.\*' in \[routes\] of .*queue name 'b c'"),
        ("[profiles.a]", r"\[profiles.a\] of .* has no worker: give each a table"),
        ("[profiles.a.b]\nmemori = '1GB'", r"'memori' in \[profiles.a.b\] .*did you mean memory"),
        (
            "[profiles.a.b]\nmemory = '1XB'",
            r"memory in \[profiles.a.b\] .*: '1XB' is not a size",
        ),
        ("[profiles.a.b]\nurl = 'x'", r"key 'url' in \[profiles.a.b\] of .* is unknown"),
        ("[profiles.a.b]\nmin = 3\nmax = 2", r"min in \[profiles.a.b\] of .* is 3, over max"),
        ("[profiles.a.b]\ncount = 3\nmax = 2", r"count in \[profiles.a.b\] .* beside min or max"),
        ("[profiles.a.b]\nrestart_above = 'x'", r"restart_above in \[profiles.a.b\] of .*: 'x' is"),
        ("[profiles]\ncount = 'x'\n[profiles.a.b]", r"count in \[profiles\] of .* is 'x'"),
        ("[profiles.a]\nmemory = 1\n[profiles.a.b]", r"memory in \[profiles.a\] of .*: 1 is too"),
        ('[profiles.a."b/c"]', r"\[profiles.a.b/c\] of .*: worker name 'b/c' is not allowed"),
    ],
)
def test_a_mistake_in_a_table_is_named(tmp_path: Path, text: str, cause: str) -> None:
    """The message names the table, the file, the key, the value, the rule or the way out."""
    with pytest.raises(BadSetting, match=cause):
        tables(tmp_path, text)
