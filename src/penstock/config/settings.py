"""The settings: one table, and the typed values that come out of it.

Durations are given as seconds, timedelta or "30s" and kept in milliseconds; the fields of
`Settings` carry their unit. Precedence and origins are the work of `resolve.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec

from penstock.broker.requests import PAYLOAD_BYTES_MAX, Durability
from penstock.config.quota import budget_bytes, cpus
from penstock.config.words import durability, queues, text
from penstock.core.names import check_name
from penstock.core.secret import SecretKeys
from penstock.core.units import duration_ms, size_bytes
from penstock.errors import BadSetting
from penstock.tasks.asked import QUEUE_DEFAULT

#: Bytes that payloads and results may be raised to: what one frame to a child can carry.
_BYTES_CEILING: Final = 16 * 2**20
#: Bytes that they may be lowered to; below it no error text would fit.
_BYTES_FLOOR: Final = 1_024
#: Bytes that a worker must be able to reserve: what a child takes before its job.
_MEMORY_FLOOR: Final = 64 * 2**20
#: Setting -> option of `penstock worker` that sets it.
FLAGS: Final[Mapping[str, str]] = {
    "url": "--url", "queues": "--queues", "processes": "--processes",
    "concurrency": "--concurrency", "coroutines": "--coroutines", "memory": "--memory",
    "worker_name": "--name", "drain_grace": "--drain-grace", "timeout": "--timeout",
    "soft_timeout": "--soft-timeout", "log_format": "--log-format",
    "log_level": "--log-level", "log_file": "--log-file",
}  # fmt: skip


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings with their values. The meaning of each stands in `SETTINGS`."""

    url: str
    durability: Durability | None
    payload_bytes_max: int
    result_bytes_max: int
    secret_keys: SecretKeys
    queues: tuple[str, ...]
    processes: int
    concurrency: int
    coroutines: int
    memory: int
    child_jobs_max: int
    child_age_max_ms: int
    cgroups: str
    poll_ms: int
    drain_grace_ms: int
    kill_grace_ms: int
    timeout_ms: int
    soft_timeout_ms: int
    worker_name: str
    lease_ttl_ms: int
    lease_extend_ms: int
    reclaim_interval_ms: int
    runner_stall_report_ms: int
    runner_stall_kill_ms: int
    retention_completed_age_ms: int
    retention_completed_count: int
    retention_dead_age_ms: int
    retention_dead_count: int
    retention_cancelled_age_ms: int
    retention_cancelled_count: int
    retention_expired_age_ms: int
    retention_expired_count: int
    log_format: str
    log_level: str
    log_file: str


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting.

    Attributes:
        name: as in files.
        component: what it belongs to: app, worker, child, lease, retention or log.
        kind: what a value looks like, for people.
        default: as one would write it; "" where it is worked out.
        unit: of the value that `Settings` holds; "" where it has none.
        reason: what it does, and why the default is what it is.
        read: turns a value from a file, variable or flag into the one of `Settings`; raises
            BadSetting.
    """

    name: str
    component: str
    kind: str
    default: str
    unit: str
    reason: str
    read: Callable[[Any], Any]

    @property
    def env(self) -> str:
        """Name of the environment variable."""
        return f"PENSTOCK_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Name of the option of `penstock worker`, "" where there is none."""
        return FLAGS.get(self.name, "")

    @property
    def is_secret(self) -> bool:
        """Whether its value is shown to nobody."""
        return self.name == "secret_keys"

    @property
    def field(self) -> str:
        """Name of the field in `Settings`."""
        return f"{self.name}_ms" if self.unit == "ms" else self.name


def as_text(value: object) -> str:
    """Return a given value as text that reads as the same value again."""
    if isinstance(value, timedelta):
        return f"{value // timedelta(milliseconds=1)}ms"
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value)


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: object) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if isinstance(number, int) and not isinstance(number, bool) and least <= number <= most:
            return number
        raise BadSetting(f"{value!r:.80} is not a whole number from {least} to {most}")

    return read


def _concurrency(value: object) -> int:
    return cpus() if value == "" else _whole(1, 4096)(value)


def _memory(value: object) -> int:
    found = budget_bytes() if value == "" else size_bytes(value)
    if found < _MEMORY_FLOOR:
        raise BadSetting(f"{value!r:.80} is too little: give 64MiB or more")
    return found


def _duration(least_ms: int) -> Callable[[Any], int]:
    def read(value: object) -> int:
        found = duration_ms(value, is_outside=True)
        if found < least_ms:
            raise BadSetting(f"{value!r:.80} is too short: give {least_ms} ms or more")
        return found

    return read


def _limit(value: object) -> int:
    return 0 if value == "" else _duration(0)(value)


def _bytes(value: object) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    found = size_bytes(number)
    if not _BYTES_FLOOR <= found <= _BYTES_CEILING:
        raise BadSetting(f"{value!r:.80} is not allowed: give 1KiB to 16MiB")
    return found


def _secret_keys(value: object) -> SecretKeys:
    if not isinstance(value, str):
        raise BadSetting(f"it is {type(value).__name__} and no text; its value is not shown")
    return SecretKeys.parse(value)


def _choice(*words: str) -> Callable[[Any], str]:
    def read(value: object) -> str:
        if value in words:
            return str(value)
        raise BadSetting(f"{value!r:.80} is unknown: use one of {', '.join(words)}")

    return read


def _worker_name(value: object) -> str:
    return "" if value == "" else check_name("worker", value)


def _table(*rows: tuple[str, str, str, str, str, Callable[[Any], Any], str]) -> dict[str, Setting]:
    return {
        name: Setting(
            name=name,
            component=component,
            kind=kind,
            default=default,
            unit=unit,
            read=read,
            reason=reason,
        )
        for name, component, kind, default, unit, read, reason in rows
    }


_DAY: Final = "24h"
_KEPT: Final = "100000"
_COUNT: Final = _whole(0, 10**12)

#: Every setting by name, in the order in which pages and `penstock config` show them.
SETTINGS: Final[Mapping[str, Setting]] = _table(
    ("url", "app", "URL", "", "", text,
     "broker; none: penstock.db beside the nearest penstock.toml or pyproject.toml"),
    ("durability", "app", "none | local | replicated | fsync", "", "", durability,
     "what an accepted job survives unless its call says otherwise; unset: the broker's best"),
    ("payload_bytes_max", "app", "size", str(PAYLOAD_BYTES_MAX), "bytes", _bytes,
     "arguments of one job; what is larger belongs in a file or object store"),
    ("result_bytes_max", "app", "size", str(PAYLOAD_BYTES_MAX), "bytes", _bytes,
     "result of one job; as payload_bytes_max"),
    ("secret_keys", "app", "ID:KEY,...", "", "", _secret_keys,
     "keys of Secret arguments: the first encrypts, all decrypt; made by `penstock new-key`"),
    ("queues", "worker", "names", QUEUE_DEFAULT, "", queues,
     "queues that a worker serves"),
    ("processes", "worker", "number", "1", "", _whole(1, 256),
     "runners: processes that run light jobs side by side; one uses one CPU for Python code"),
    ("concurrency", "worker", "number", "", "", _concurrency,
     "threads and children together; none: the CPU quota of the container, else the cores"),
    ("coroutines", "worker", "number", "100", "", _whole(1, 100_000),
     "`async def` jobs at once in each runner; they wait more than they compute"),
    ("memory", "worker", "size", "", "bytes", _memory,
     "what jobs in children may reserve together; none: 85 % of the container's or machine's"),
    ("poll", "worker", "duration", "2s", "ms", _duration(10),
     "slow poll under the wake-ups: how late a job may start when a wake-up got lost"),
    ("drain_grace", "worker", "duration", "25s", "ms", _duration(0),
     "how long running jobs may finish after SIGTERM; below the 30 s of Kubernetes"),
    ("kill_grace", "worker", "duration", "1s", "ms", _duration(0),
     "how long a job past its hard limit may tidy up before it is killed"),
    ("timeout", "worker", "duration", "", "ms", _limit,
     "hard limit of attempts whose call and task name none; none: a job may be long"),
    ("soft_timeout", "worker", "duration", "", "ms", _limit,
     "soft limit of attempts whose call and task name none; none: as timeout"),
    ("worker_name", "worker", "name", "", "", _worker_name,
     "name of the worker; none: made of host and process id"),
    ("child_jobs_max", "child", "number", "10000", "", _whole(1, 10**9),
     "jobs after which a child is replaced; every 100 also one grown by 64 MiB or 128 files"),
    ("child_age_max", "child", "duration", "1h", "ms", _duration(0),
     "age at which a child is replaced, after its job: what it piled up unseen goes with it"),
    ("cgroups", "child", "auto | off", "auto", "", _choice("auto", "off"),
     "control groups that count and limit the memory of children, where the kernel lets us"),
    ("lease_ttl", "lease", "duration", "12s", "ms", _duration(300),
     "how long a lost host keeps its jobs; four extensions may fail before that"),
    ("lease_extend", "lease", "duration", "3s", "ms", _duration(50),
     "how often a supervisor extends its leases, a quarter of their time"),
    ("reclaim_interval", "lease", "duration", "1s", "ms", _duration(20),
     "how often a worker looks for leases that ran out"),
    ("runner_stall_report", "lease", "duration", "5s", "ms", _duration(100),
     "a runner whose interpreter stood still this long is reported; 10 s is promised"),
    ("runner_stall_kill", "lease", "duration", "300s", "ms", _duration(500),
     "such a runner is replaced after this long, its jobs are suspects"),
    ("retention_completed_age", "retention", "duration", _DAY, "ms", _duration(0),
     "completed jobs and their results are kept this long"),
    ("retention_completed_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue, whichever bound is met first"),
    ("retention_dead_age", "retention", "duration", "14d", "ms", _duration(0),
     "dead jobs are kept this long: time for people to look"),
    ("retention_dead_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue"),
    ("retention_cancelled_age", "retention", "duration", _DAY, "ms", _duration(0),
     "cancelled jobs are kept this long"),
    ("retention_cancelled_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue"),
    ("retention_expired_age", "retention", "duration", _DAY, "ms", _duration(0),
     "expired jobs are kept this long"),
    ("retention_expired_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue"),
    ("log_format", "log", "human | json", "human", "", _choice("human", "json"),
     "how log lines look"),
    ("log_level", "log", "debug | info | warning | error", "info", "",
     _choice("debug", "info", "warning", "error"),
     "least level that is logged; a completed job is debug, all a human must see is above"),
    ("log_file", "log", "path", "", "", text,
     "file that the worker's log goes to beside standard error; none: no file"),
)  # fmt: skip
