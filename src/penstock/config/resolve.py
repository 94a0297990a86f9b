"""Where settings come from, and the only place outside the command line that reads them.

Precedence: flag > what the app object says > environment (`PENSTOCK_*`) > `penstock.toml`, or
`[tool.penstock]` in `pyproject.toml`, whichever is nearest upward from the working directory >
default. Each value keeps its origin; `penstock config` prints both.

An `App` reads the environment and files at its first use, not when it is made, and only through
`load`: a library that is given all it needs by its caller would make every program repeat this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.broker.urls import masked
from penstock.config.lanes import without_lanes
from penstock.config.settings import SETTINGS, Setting, Settings, as_text
from penstock.config.tables import Tables, known_tables, parted, read_tables
from penstock.connect import FILE_DEFAULT, sqlite_path, sqlite_url
from penstock.errors import BadSetting

#: Variables of the same prefix that are no settings: they tell a process what it is.
_NOT_SETTINGS: Final = frozenset(
    {
        "PENSTOCK_CHANNEL_FD",
        "PENSTOCK_CHILD",
        "PENSTOCK_CHILD_MARK",
        "PENSTOCK_NVML",
        "PENSTOCK_PLAN_FD",
        "PENSTOCK_STACK_FD",
    }
)
_FILES: Final = ("penstock.toml", "pyproject.toml")


class Value(msgspec.Struct, frozen=True):
    """One setting's value and where it came from.

    Attributes:
        setting: which one.
        value: as `Settings` holds it.
        given: as it was written; "" where nothing was.
        origin: "--lease-ttl", "the app", "PENSTOCK_LEASE_TTL", a file's path, or "default".
    """

    setting: Setting
    value: Any
    given: Any
    origin: str

    @property
    def shown(self) -> str:
        """The value as text fit for people: a URL's password is masked, of keys the ids shown."""
        if self.setting.is_secret:
            return f"set: {', '.join(self.value.ids)}" if self.value else "not set"
        value = self.given if self.given != "" else self.value
        return masked(str(value)) if self.setting.name == "url" else as_text(value)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of this process.

    Attributes:
        settings: the values, typed.
        values: each value with its origin, in the order of `SETTINGS`.
        project: folder of the nearest penstock.toml or pyproject.toml, else the working directory.
        file: the file that settings were read from; None: none has any.
        tables: what its tables say.
        warnings: what looks like a mistake but may be none.
    """

    settings: Settings
    values: Mapping[str, Value]
    project: Path
    file: Path | None
    tables: Tables
    warnings: tuple[str, ...]


def load(
    *,
    flags: Mapping[str, Any] | None = None,
    app: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Config:
    """Read all settings.

    Args:
        flags: from the command line, setting name -> value.
        app: what the app object says, setting name -> value.
        environ: environment; None: the process's.
        directory: where the search for files starts; None: the working directory.

    Raises:
        BadSetting: a value breaks its rule, or a key is unknown; the message names where.

    Cost: two file look-ups per folder on the way up; one TOML file is parsed if found.
    """
    start = Path.cwd() if directory is None else directory
    variables = os.environ if environ is None else environ
    project, file, found = _find_file(start)
    table, tables = parted(without_lanes(found, str(file)))
    by_env = {setting.env: name for name, setting in SETTINGS.items()}
    from_env = {by_env[key]: value for key, value in variables.items() if key in by_env}
    sources: list[tuple[str | None, Mapping[str, Any], Path]] = [
        ("flag", _known(flags or {}, "flag"), start),
        ("app", _known(app or {}, "App(...)"), start),
        ("env", from_env, start),
        (str(file), _known(table, str(file)), project),
    ]
    values = {name: _value(setting, sources, project) for name, setting in SETTINGS.items()}
    settings = Settings(**{SETTINGS[name].field: value.value for name, value in values.items()})
    _check_together(settings)
    return Config(
        settings=settings,
        values=values,
        project=project,
        file=file if found else None,
        tables=read_tables(str(file), tables),
        warnings=tuple(_env_warnings(variables, by_env)),
    )


def is_child(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether this process is a worker's child, which holds no broker credentials."""
    return (os.environ if environ is None else environ).get("PENSTOCK_CHILD") == "1"


def _value(
    setting: Setting, sources: list[tuple[str | None, Mapping[str, Any], Path]], project: Path
) -> Value:
    given: Any = setting.default
    origin, base = "default", project
    for kind, source, folder in sources:
        if source.get(setting.name) is not None:
            given, base = source[setting.name], folder
            origin = _origin(str(kind), setting)
            break
    try:
        value = setting.read(given)
        if setting.name == "url":
            value = _whole_url(value, base, is_default=origin == "default")
    except BadSetting as error:
        raise BadSetting(f"setting {setting.name} from {origin}: {error}") from error
    # What was given is kept for people, and a key is for nobody's eyes.
    return Value(setting, value, "" if setting.is_secret else given, origin)


def _origin(kind: str, setting: Setting) -> str:
    names = {
        "flag": setting.flag or f"--{setting.name.replace('_', '-')}",
        "app": "the app",
        "env": setting.env,
    }
    return names.get(kind, kind)


def _whole_url(url: str, base: Path, *, is_default: bool) -> str:
    """Return the URL with an absolute path; a relative one starts where it was written."""
    if is_default:
        return sqlite_url(base / FILE_DEFAULT)
    return sqlite_url(sqlite_path(url, base)) if url.startswith("sqlite:") else url


def _find_file(start: Path) -> tuple[Path, Path | None, Mapping[str, Any]]:
    """Return the project's folder, its settings file if there is one, and what the file says."""
    for folder in (start, *start.parents):
        found = [folder / name for name in _FILES if (folder / name).is_file()]
        if found:
            tables = [(file, _read(file)) for file in found]
            filled = [(file, table) for file, table in tables if table]
            if len(filled) > 1:
                raise BadSetting(
                    f"settings stand in {filled[0][0]} and in [tool.penstock] of {filled[1][0]}: "
                    "keep them in one of the two"
                )
            file, table = filled[0] if filled else tables[0]
            return folder, file, table
    return start, None, {}


def _read(file: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} is not TOML: {error}") from error
    if file.name == "penstock.toml":
        return document
    table = document.get("tool", {}).get("penstock", {})
    if not isinstance(table, dict):
        raise BadSetting(f"[tool.penstock] of {file} is not a table")
    return table


def _known(source: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for key, value in source.items():
        if key not in SETTINGS and isinstance(value, Mapping):
            raise BadSetting(
                f"table {key!r:.80} of {where} is unknown: there are {known_tables()}, and every "
                "setting stands by its own name at the top"
            )
        if key not in SETTINGS:
            raise BadSetting(f"setting {key!r:.80} of {where} is unknown: {_suggestion(key)}")
    return source


def _suggestion(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key.lower().replace("-", "_"), SETTINGS, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return "`penstock config` lists all settings"


def _env_warnings(variables: Mapping[str, str], by_env: Mapping[str, str]) -> list[str]:
    # A warning and no error: Kubernetes puts PENSTOCK_PORT and the like into the environment of
    # every pod beside a service called "penstock".
    return [
        f"variable {key} is no setting: {_suggestion(key.removeprefix('PENSTOCK_'))}"
        for key in sorted(variables)
        if key.startswith("PENSTOCK_") and key not in by_env and key not in _NOT_SETTINGS
    ]


def _check_together(settings: Settings) -> None:
    if settings.lease_extend_ms * 3 > settings.lease_ttl_ms:
        raise BadSetting(
            f"lease_extend ({settings.lease_extend_ms} ms) is over a third of lease_ttl "
            f"({settings.lease_ttl_ms} ms): two lost extensions would lose every job; extend more "
            "often or lease longer"
        )
    if settings.runner_stall_kill_ms < settings.runner_stall_report_ms:
        raise BadSetting(
            f"runner_stall_kill ({settings.runner_stall_kill_ms} ms) is under runner_stall_report "
            f"({settings.runner_stall_report_ms} ms): a stall is reported before it is ended"
        )
