"""Settings: where they come from, who wins, and what is refused."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import App
from penstock.broker.requests import Durability
from penstock.broker.urls import masked
from penstock.config.quota import cpus
from penstock.config.resolve import load
from penstock.config.settings import SETTINGS, Settings, as_text
from penstock.connect import connect, location, sqlite_path, sqlite_url
from penstock.errors import BadSetting, Unavailable


def values(directory: Path, **sources: Any) -> Settings:
    """Return the settings that a folder and the given sources make."""
    return load(environ=sources.pop("environ", {}), directory=directory, **sources).settings


def test_every_setting_has_a_valid_default(tmp_path: Path) -> None:
    """With no source at all each setting has its documented default, and says so."""
    config = load(environ={}, directory=tmp_path)
    settings = config.settings
    assert {value.origin for value in config.values.values()} == {"default"}
    assert settings.url == sqlite_url(tmp_path / "penstock.db")
    assert (settings.lease_ttl_ms, settings.lease_extend_ms) == (12_000, 3_000)
    assert (settings.drain_grace_ms, settings.kill_grace_ms) == (25_000, 1_000)
    assert (settings.runner_stall_report_ms, settings.runner_stall_kill_ms) == (5_000, 300_000)
    assert (settings.processes, settings.coroutines, settings.concurrency) == (1, 100, cpus())
    assert (settings.queues, settings.durability, settings.poll_ms) == (("default",), None, 2_000)
    assert settings.retention_dead_age_ms == 14 * 86_400_000
    assert settings.payload_bytes_max == 1_048_576


def test_table_keeps_its_own_rules() -> None:
    """At most twelve settings a component; each has a kind, a reason and a field in Settings."""
    assert max(Counter(s.component for s in SETTINGS.values()).values()) <= 12
    assert {setting.field for setting in SETTINGS.values()} == set(Settings.__struct_fields__)
    for setting in SETTINGS.values():
        assert setting.kind
        assert setting.reason[0].islower() or setting.reason.startswith("`")
        assert re.fullmatch("PENSTOCK_[A-Z_]+", setting.env)


def test_nearer_source_wins(tmp_path: Path) -> None:
    """Flag > app > environment > file > default, each with its origin."""
    file = tmp_path / "penstock.toml"
    file.write_text('lease_ttl = "20s"\npoll = 5\nprocesses = 2\ncoroutines = 7\n')
    config = load(
        flags={"lease_ttl": "50s"},
        app={"lease_ttl": "40s", "poll": timedelta(seconds=4)},
        environ={
            "PENSTOCK_LEASE_TTL": "30s", "PENSTOCK_POLL": "3", "PENSTOCK_PROCESSES": "3"
        },
        directory=tmp_path,
    )  # fmt: skip
    found = {
        name: (getattr(config.settings, SETTINGS[name].field), config.values[name].origin)
        for name in ("lease_ttl", "poll", "processes", "coroutines", "concurrency")
    }
    assert found == {
        "lease_ttl": (50_000, "--lease-ttl"),
        "poll": (4_000, "the app"),
        "processes": (3, "PENSTOCK_PROCESSES"),
        "coroutines": (7, str(file)),
        "concurrency": (cpus(), "default"),
    }


def test_value_of_none_counts_as_not_given(tmp_path: Path) -> None:
    """A flag that was not used does not hide the environment."""
    given = values(tmp_path, flags={"processes": None}, environ={"PENSTOCK_PROCESSES": "5"})
    assert given.processes == 5


def test_nearest_file_upward_is_read(tmp_path: Path) -> None:
    """The search goes up to the first folder with a penstock.toml or pyproject.toml, no further."""
    (tmp_path / "penstock.toml").write_text("processes = 9\n")
    project = tmp_path / "project"
    inside = project / "src" / "deep"
    inside.mkdir(parents=True)
    assert values(inside).processes == 9
    (project / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    config = load(environ={}, directory=inside)
    assert (config.settings.processes, config.project, config.file) == (1, project, None)
    assert config.settings.url == sqlite_url(project / "penstock.db")
    (project / "pyproject.toml").write_text("[tool.penstock]\nprocesses = 4\n")
    assert values(inside).processes == 4


def test_settings_in_two_files_of_a_folder_are_refused(tmp_path: Path) -> None:
    """penstock.toml and [tool.penstock] side by side would hide one another."""
    (tmp_path / "penstock.toml").write_text("processes = 2\n")
    (tmp_path / "pyproject.toml").write_text("[tool.penstock]\nprocesses = 4\n")
    with pytest.raises(BadSetting, match="keep them in one of the two"):
        values(tmp_path)


def test_relative_database_starts_where_it_is_written(tmp_path: Path) -> None:
    """A relative URL of a file is relative to the file, one of a variable to the working folder."""
    (tmp_path / "penstock.toml").write_text('url = "sqlite:///data/jobs.db"\n')
    inside = tmp_path / "src"
    inside.mkdir()
    assert values(inside).url == sqlite_url(tmp_path / "data/jobs.db")
    from_env = values(inside, environ={"PENSTOCK_URL": "sqlite:///jobs.db"})
    assert from_env.url == sqlite_url(inside / "jobs.db")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "leese_ttl = 3",
            r"setting 'leese_ttl' of .*penstock\.toml is unknown: did you mean lease",
        ),
        ("zzz = 3", "unknown: `penstock config` lists all settings"),
        ('lease_ttl = "long"', r"setting lease_ttl from .*penstock\.toml: .*'long'"),
        ("lease_ttl = 0.1", "too short: give 300 ms or more"),
        ("lease_ttl = 4\nlease_extend = 3", "lease_extend .* is over a third of lease_ttl"),
        ("runner_stall_kill = 1", "is under runner_stall_report"),
        ("processes = 0", "0 is not a whole number from 1 to 256"),
        ("processes = true", "True is not a whole number"),
        ("concurrency = 5000", "not a whole number from 1 to 4096"),
        ('payload_bytes_max = "1GiB"', "give 1KiB to 16MiB"),
        ('queues = ["a b"]', "queue name 'a b' is not allowed"),
        ("queues = []", "names no queues"),
        ('durability = "strong"', "durability 'strong' is unknown"),
        ('log_format = "xml"', "use one of human, json"),
        ("log_file = 3", "3 is not text"),
        ('worker_name = "a b"', "worker name 'a b' is not allowed"),
        ("processes = = 2", "is not TOML"),
        ('url = "sqlite://host/x.db"', "names no file"),
    ],
)
def test_mistake_in_a_file_is_named(tmp_path: Path, text: str, cause: str) -> None:
    """The message names the setting, the file, the value and the rule."""
    (tmp_path / "penstock.toml").write_text(text)
    with pytest.raises(BadSetting, match=cause):
        values(tmp_path)


def test_tool_table_must_be_a_table(tmp_path: Path) -> None:
    """[tool] penstock = 3 is refused."""
    (tmp_path / "pyproject.toml").write_text("[tool]\npenstock = 3\n")
    with pytest.raises(BadSetting, match="is not a table"):
        values(tmp_path)


def test_unknown_variable_is_a_warning(tmp_path: Path) -> None:
    """Kubernetes sets PENSTOCK_PORT beside a service of this name: no error, but it is said."""
    environ = {"PENSTOCK_PORT": "tcp://10.0.0.1", "PENSTOCK_LEASE_TLL": "3", "PENSTOCK_CHILD": "1"}
    config = load(environ=environ, directory=tmp_path)
    assert config.warnings == (
        "variable PENSTOCK_LEASE_TLL is no setting: did you mean lease_ttl?",
        "variable PENSTOCK_PORT is no setting: `penstock config` lists all settings",
    )


def test_text_of_each_source_means_the_same(tmp_path: Path) -> None:
    """Variables and flags are text: lists with commas, bare numbers as seconds or bytes."""
    environ = {
        "PENSTOCK_QUEUES": "a, b,a",
        "PENSTOCK_DRAIN_GRACE": "1.5",
        "PENSTOCK_KILL_GRACE": "2min",
        "PENSTOCK_PAYLOAD_BYTES_MAX": "4096",
        "PENSTOCK_DURABILITY": "local",
    }
    settings = values(tmp_path, environ=environ)
    assert settings.queues == ("a", "b")
    assert (settings.drain_grace_ms, settings.kill_grace_ms) == (1_500, 120_000)
    assert (settings.payload_bytes_max, settings.durability) == (4_096, Durability.LOCAL)
    for given in (timedelta(seconds=1.5), 1.5, "1.5s"):
        read = SETTINGS["drain_grace"].read
        assert read(as_text(given)) == read(given) == 1_500


def test_app_resolves_lazily_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making an app reads nothing; its location is the absolute path of the default file."""
    app = App()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "penstock.toml").write_text("")
    assert app.location == str(tmp_path / "penstock.db")
    assert App("sqlite:///x.db").location == str(tmp_path / "x.db")
    monkeypatch.setenv("PENSTOCK_URL", "memory://")
    assert App().location == "memory://"
    assert App("sqlite:///x.db").location == str(tmp_path / "x.db")
    with pytest.raises(BadSetting, match=r"setting 'pol' of App\(\.\.\.\) is unknown"):
        App(settings={"pol": 1}).enqueue_many([])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@127.0.0.1:1/0", "redis://user:***@127.0.0.1:1/0"),
        ("redis://:secret@127.0.0.1:1/0", "redis://:***@127.0.0.1:1/0"),
        ("redis://127.0.0.1:1/0?password=secret", "redis://127.0.0.1:1/0?password=***"),
        ("postgres://u@host/db?sslpassword=secret", "postgres://u@host/db?sslpassword=***"),
        ("redis://:se#c/r?et@127.0.0.1:1/0", "redis://:***@127.0.0.1:1/0"),
        ("unix:///run/a@b:c.sock?password=secret", "unix:///run/a@b:c.sock?password=***"),
        ("redis://127.0.0.1:1/0?client_name=a@b", "redis://127.0.0.1:1/0?client_name=a@b"),
        ("redis://u:secret@[::1]:1/0?client_name=a@b", "redis://u:***@[::1]:1/0?client_name=a@b"),
        ("redis:/u:secret@h/x", "redis:/u:***@h/x"),
        ("redis:u:secret@h/x", "redis:***@h/x"),
        ("u:secret@h/x", "u:***@h/x"),
        ("redis://u:my/secret@h/x", "redis://u:***@h/x"),
        ("redis://u:my@secret@h/x", "redis://u:***@h/x"),
        ("redis://u:my#secret@h/x", "redis://u:***@h/x"),
        ("redis://u:my?secret@h/x", "redis://u:***@h/x"),
        ("redis://u:[secret@h/x", "redis://u:***@h/x"),
        ("host=h password=secret", "host=h password=***"),
        ("password = 'my secret' host=h", "password =***"),
        ("host=h;Password=secret", "host=h;Password=***"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("sqlite:////a:b@c/d.db", "sqlite:////a:b@c/d.db"),
        ("memory://", "memory://"),
    ],
)
def test_secrets_are_masked(tmp_path: Path, url: str, shown: str) -> None:
    """A password in a URL is never shown: not by the mask, the config, or an error."""
    assert masked(url) == shown
    config = load(environ={"PENSTOCK_URL": url}, directory=tmp_path)
    assert config.values["url"].shown == shown
    assert "secret" not in location(config.settings.url)
    if not url.startswith(("sqlite", "memory")):
        with pytest.raises((BadSetting, Unavailable)) as caught:
            connect(url)
        assert "secret" not in str(caught.value)


def test_url_that_names_no_broker_is_refused() -> None:
    """An unknown scheme is refused with the ways that there are."""
    with pytest.raises(BadSetting, match=r"'amqp://x' names no broker: use sqlite:///FILE, "):
        connect("amqp://x")


@pytest.mark.parametrize("name", ["a b.db", "ä%20.db", "x/y.db", "q?.db", "h#.db"])
def test_path_survives_its_url(tmp_path: Path, name: str) -> None:
    """Whatever a file is called, its URL names it again."""
    assert sqlite_path(sqlite_url(tmp_path / name)) == tmp_path / name


GROUPS = {
    "v2 quota": ({"cpu.max": "150000 100000"}, "0::/", 2),
    "v2 none": ({"cpu.max": "max 100000"}, "0::/", None),
    "v2 half a CPU": ({"cpu.max": "50000 100000"}, "0::/", 1),
    "v2 parent binds": (
        {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 1
    ),
    "v1 quota": (
        {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", 1
    ),
    "v1 own group": (
        {"cpu,cpuacct/x/cpu.cfs_quota_us": "100000",
         "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/x", 1
    ),
    "v1 none": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", None),
    "nothing": ({}, "", None),
    "nonsense": ({"cpu.max": "?"}, "0::/", None),
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_concurrency_follows_the_quota_of_the_container(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least of cores and quotas up the tree counts, rounded up, at least 1."""
    files, membership, expected = GROUPS[name]
    for path, text in files.items():
        (tmp_path / "fs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / path).write_text(text)
    (tmp_path / "cgroup").write_text(membership)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(8)))
    found = cpus(proc_cgroup=tmp_path / "cgroup", root=tmp_path / "fs")
    assert found == (8 if expected is None else expected)


def test_every_flag_of_a_setting_is_an_option_of_the_worker() -> None:
    """The flags of the settings are true options, and no setting's option is missing."""
    from penstock.cli.commands.worker import worker

    options = set(inspect.signature(worker).parameters) - {"session", "target", "burst", "reload"}
    flags = {setting.flag for setting in SETTINGS.values() if setting.flag}
    assert flags == {f"--{name.replace('_', '-')}" for name in options} | {"--url"}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("cpus", "", float(cpus())),
        ("cpus", "1.5", 1.5),
        ("labels", "us, eu,us", ("eu", "us")),
        ("labels", ["eu"], ("eu",)),
        ("labels", "", ()),
        ("resources", "license=2, gpu_hours=1", (("gpu_hours", 1), ("license", 2))),
        ("resources", {"license": 2}, (("license", 2),)),
        ("gpus", "all", None),
        ("gpus", "none", ()),
        ("gpus", "2,0", (0, 2)),
        ("gpus", 1, (1,)),
    ],
)
def test_what_a_worker_offers_is_read(name: str, given: object, value: object) -> None:
    """From text, as flags and variables are, or from a list or table in a file."""
    assert SETTINGS[name].read(given) == value
    assert SETTINGS[name].read(as_text(given)) == value


@pytest.mark.parametrize(
    ("name", "given", "cause"),
    [
        ("cpus", "0", "'0' is not a number from 0.1"),
        ("cpus", True, "True is not a number"),
        ("labels", "a b", "label 'a b' is not allowed"),
        ("labels", 3, "3 is no list"),
        ("resources", "license", "'license' is no counted resource: give NAME=NUMBER"),
        ("resources", "license=-1", "no counted resource"),
        ("resources", {"license": True}, "'license=True' is no counted resource"),
        ("gpus", "some", "'some' names no GPUs: give all, none, or indexes"),
        ("gpus", "", "names no GPUs"),
        ("labels", ["a"] * 65, "65 are too many"),
    ],
)
def test_what_a_worker_cannot_offer_is_refused(name: str, given: object, cause: str) -> None:
    """The message names the value and the rule."""
    with pytest.raises(BadSetting, match=cause):
        SETTINGS[name].read(given)
