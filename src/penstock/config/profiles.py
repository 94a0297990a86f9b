"""`[profiles.*]`: which workers `penstock up` starts on one host, and the profiles that come along.

A table below a profile is one of its workers. A value beside the tables holds for all workers of
the profile, and one at the top of `[profiles]` for all profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from penstock.config.queues import QueueTable, check_whole, unknown
from penstock.config.settings import SETTINGS
from penstock.core.names import check_name
from penstock.errors import BadSetting

T = TypeVar("T")
N = TypeVar("N", int, None)

#: Name of the worker that serves every queue (M3).
ALL_QUEUES: Final = "all-queues"
#: Origin of the profiles that come along.
BUILT_IN: Final = "built in"
#: The profiles that come along. `full` has a worker for each queue of the file; sizes and counts of
#: heavy and light are those of the requirement H2.
_BUILT_IN: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "minimal": {ALL_QUEUES: {}},
    "full": {},
    "datasets": {"datasets": {"queues": ["datasets"]}},
    "heavy": {"heavy": {"queues": ["heavy"], "memory": "6GB", "concurrency": 1}},
    "light": {"light": {"queues": ["light"], "memory": "1GB", "cores": 1, "count": 2}},
}
#: Workers of one kind on one host; beyond it a number is a mistake.
COUNT_MAX: Final = 256
#: Jobs that wait for each worker before another one is started (B5: 50 per pod).
_JOBS_PER_WORKER: Final = 50
#: Cores and GPUs of one worker, for `penstock plan`.
_DEVICES_MAX: Final = 4096
#: Jobs that may wait for each worker.
_JOBS_MAX: Final = 10**9
#: What a worker of a profile says beside the settings: key -> (value, what it does).
OWN: Final[Mapping[str, tuple[str, str]]] = {
    "app": ("MODULE:APP", "the app that it runs; the command line wins"),
    "queues": ("names", "queues that it serves; none: all that the app and the file name"),
    "count": ("number", "workers of this kind; none: one"),
    "min": ("number", "workers that always run, where the backlog decides; 0 is allowed"),
    "max": ("number", "workers to which the fleet grows while jobs wait"),
    "jobs_per_worker": ("number", "jobs that wait for each before another one starts; none: 50"),
    "cores": ("number", "for `penstock plan`; none: its slots, else its runners"),
    "gpu_count": ("number", "for `penstock plan`; none: what the jobs of its queues ask for"),
}
#: Settings that are one for the whole fleet, or that a profile says by other means.
NOT_HERE: Final = frozenset({"url", "secret_keys", "worker_name", "queues"})


class WorkerTable(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of worker of a profile.

    Attributes:
        name: the key of its table.
        app: "module:attribute"; None: the command line says.
        queues: that it serves; empty: all.
        least: workers of this kind that always run.
        most: to which the fleet grows while jobs wait.
        jobs_per_worker: jobs that wait for each worker before another one is started.
        cores: that it is planned with; None: worked out.
        gpu_count: GPUs that it is planned with; the same.
        settings: of these workers, as flags: name -> value as written.
    """

    name: str
    app: str | None = None
    queues: tuple[str, ...] = ()
    least: int = 1
    most: int = 1
    jobs_per_worker: int = _JOBS_PER_WORKER
    cores: int | None = None
    gpu_count: int | None = None
    settings: Mapping[str, Any] = {}


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Workers of one host that are started together.

    Attributes:
        origin: the file it stands in, "built in" where it came along.
        workers: in the order in which they are started.
    """

    name: str
    origin: str
    workers: tuple[WorkerTable, ...]


class Profiles(msgspec.Struct, frozen=True, kw_only=True):
    """`[profiles]` as a whole.

    Attributes:
        defaults: values that hold for the workers of every profile, as written.
        changes: values that hold for the workers of a profile that comes along, by its name.
        by_name: those of the file.
    """

    defaults: Mapping[str, Any] = {}
    changes: Mapping[str, Mapping[str, Any]] = {}
    by_name: Mapping[str, Profile] = {}

    def all(self, queues: Mapping[str, QueueTable]) -> dict[str, Profile]:
        """Return all profiles by name; those of the file replace the ones that come along.

        Args:
            queues: of the file: the profile `full` has a worker for each.
        """
        return {**_built_in(queues, self), **self.by_name}


def read_profiles(where: str, table: Mapping[str, Any]) -> Profiles:
    """Return the profiles of `[profiles]`.

    Raises:
        BadSetting: a key is unknown or a value breaks its rule.
    """
    defaults, profiles = _parted(table)
    # Read for its rules, and so that a mistake is told where it stands.
    _worker(ALL_QUEUES, defaults, f"[profiles] of {where}")
    found: dict[str, Profile] = {}
    changes: dict[str, Mapping[str, Any]] = {}
    for name, values in profiles.items():
        place = f"[profiles.{name:.80}] of {where}"
        _check_named("profile", name, place)
        for_profile, workers = _parted(values)
        _worker(ALL_QUEUES, for_profile, place)
        if not workers and name in _BUILT_IN:
            changes[name] = for_profile
            continue
        if not workers:
            raise BadSetting(
                f"{place} has no worker: give each a table, as [profiles.{name:.60}.mail]"
            )
        read = [
            _worker(
                key, {**defaults, **for_profile, **one}, f"[profiles.{name}.{key:.80}] of {where}"
            )
            for key, one in workers.items()
        ]
        found[name] = Profile(name=name, origin=where, workers=tuple(read))
    return Profiles(defaults=defaults, changes=changes, by_name=found)


def _built_in(queues: Mapping[str, QueueTable], said: Profiles) -> dict[str, Profile]:
    workers = {**_BUILT_IN, "full": {name: {"queues": [name]} for name in queues}}
    return {
        name: Profile(
            name=name,
            origin=BUILT_IN,
            workers=tuple(
                _worker(key, _changed(one, name, said), f"built-in profile {name}")
                for key, one in workers[name].items()
            ),
        )
        for name in _BUILT_IN
    }


def _changed(worker: Mapping[str, Any], profile: str, said: Profiles) -> dict[str, Any]:
    """Return a worker that comes along, with what the file says of its profile."""
    changes = said.changes.get(profile, {})
    # A number that follows the backlog takes the place of a fixed one.
    is_scaled = "min" in changes or "max" in changes
    kept = {key: value for key, value in worker.items() if not (is_scaled and key == "count")}
    return {**said.defaults, **kept, **changes}


def _worker(key: str, given: Mapping[str, Any], place: str) -> WorkerTable:
    _check_named("worker", key, place)
    settings = {name: value for name, value in given.items() if name not in OWN}
    for name, value in settings.items():
        if name not in SETTINGS or name in NOT_HERE:
            raise unknown(name, place, {*OWN, *SETTINGS} - NOT_HERE)
        _read(SETTINGS[name].read, name, value, place)
    own = {name: value for name, value in given.items() if name in OWN}
    least, most = _counts(own, place)
    app = own.get("app")
    if app is not None and not isinstance(app, str):
        raise BadSetting(f"app in {place} is {app!r:.80}: give text such as 'shop.jobs:app'")
    named = own.get("queues")
    return WorkerTable(
        name=key,
        app=app,
        queues=() if named is None else _read(SETTINGS["queues"].read, "queues", named, place),
        least=least,
        most=most,
        jobs_per_worker=_whole(own, "jobs_per_worker", place, 1, _JOBS_MAX, _JOBS_PER_WORKER),
        cores=_whole(own, "cores", place, 0, _DEVICES_MAX, None),
        gpu_count=_whole(own, "gpu_count", place, 0, _DEVICES_MAX, None),
        settings=settings,
    )


def _counts(own: Mapping[str, Any], place: str) -> tuple[int, int]:
    """Return how many workers there are at least and at most."""
    if "count" in own and ("min" in own or "max" in own):
        raise BadSetting(
            f"count in {place} stands beside min or max: count is for a fixed number, min and max "
            "for one that follows the backlog; keep one of the two"
        )
    fixed = _whole(own, "count", place, 1, COUNT_MAX, 1)
    least = _whole(own, "min", place, 0, COUNT_MAX, fixed)
    most = _whole(own, "max", place, 1, COUNT_MAX, max(least, 1))
    if least > most:
        raise BadSetting(
            f"min in {place} is {least}, over max, which is {most}: lower it or raise max"
        )
    return least, most


def _whole(
    own: Mapping[str, Any], name: str, place: str, least: int, most: int, default: N
) -> int | N:
    value = own.get(name)
    return default if value is None else check_whole(f"{name} in {place}", value, least, most)


def _read(read: Callable[[Any], T], name: str, value: object, place: str) -> T:
    try:
        return read(value)
    except BadSetting as error:
        raise BadSetting(f"{name} in {place}: {error}") from error


def _check_named(kind: str, name: str, place: str) -> None:
    try:
        check_name(kind, name)
    except BadSetting as error:
        raise BadSetting(f"{place}: {error}") from error


def _parted(table: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    """Return (values, tables) of a table."""
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    return {key: value for key, value in table.items() if key not in tables}, tables
