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
from penstock.config.offered import OFFERED, OFFERED_FLAGS, Offered
from penstock.config.readers import (
    duration_from,
    one_of,
    payload_cap,
    read_bound,
    read_concurrency,
    read_durability,
    read_light,
    read_limit,
    read_queues,
    read_secret_keys,
    read_text,
    read_worker_name,
    whole_number,
)
from penstock.core.secret import SecretKeys
from penstock.core.units import size_bytes
from penstock.tasks.asked import QUEUE_DEFAULT

#: Setting -> option of `penstock worker` that sets it.
FLAGS: Final[Mapping[str, str]] = {
    "url": "--url", "queues": "--queues", "processes": "--processes",
    "concurrency": "--concurrency", "coroutines": "--coroutines", "light": "--light",
    **OFFERED_FLAGS,
    "worker_name": "--name", "drain_grace": "--drain-grace", "timeout": "--timeout",
    "soft_timeout": "--soft-timeout", "restart_above": "--restart-above",
    "log_format": "--log-format",
    "log_level": "--log-level", "log_file": "--log-file",
}  # fmt: skip


class Settings(Offered, frozen=True, kw_only=True):
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
    light: int | None
    light_runtime_max_ms: int
    light_memory_max: int
    child_jobs_max: int
    child_age_max_ms: int
    child_start_max_ms: int
    child_nice: int
    cgroups: str
    poll_ms: int
    drain_grace_ms: int
    kill_grace_ms: int
    timeout_ms: int
    soft_timeout_ms: int
    restart_above: int
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

    @property
    def light_slots(self) -> int:
        """Slots of the light lane."""
        return max(1, self.concurrency // 2) if self.light is None else self.light


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting.

    Attributes:
        name: as in files.
        component: what it belongs to: app, capacity, worker, child, offer, lease, retention or log.
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
    if isinstance(value, Mapping):
        return ",".join(f"{name}={part}" for name, part in value.items())
    return str(value)


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
_COUNT: Final = whole_number(0, 10**12)

#: Every setting by name, in the order in which pages and `penstock config` show them.
SETTINGS: Final[Mapping[str, Setting]] = _table(
    ("url", "app", "URL", "", "", read_text,
     "broker; none: penstock.db beside the nearest penstock.toml or pyproject.toml"),
    ("durability", "app", "none | local | replicated | fsync", "", "", read_durability,
     "what an accepted job survives unless its call says otherwise; unset: the broker's best"),
    ("payload_bytes_max", "app", "size", str(PAYLOAD_BYTES_MAX), "bytes", payload_cap,
     "arguments of one job; what is larger belongs in a file or object store"),
    ("result_bytes_max", "app", "size", str(PAYLOAD_BYTES_MAX), "bytes", payload_cap,
     "result of one job; as payload_bytes_max"),
    ("secret_keys", "app", "ID:KEY,...", "", "", read_secret_keys,
     "keys of Secret arguments: the first encrypts, all decrypt; made by `penstock new-key`"),
    ("processes", "capacity", "number", "1", "", whole_number(1, 256),
     "runners: processes that run light jobs side by side; one uses one CPU for Python code"),
    ("concurrency", "capacity", "number", "", "", read_concurrency,
     "threads and children together; none: the CPU quota of the container, else the cores"),
    ("coroutines", "capacity", "number", "100", "", whole_number(1, 100_000),
     "`async def` jobs at once in each runner; they wait more than they compute"),
    ("light", "capacity", "number", "", "", read_light,
     "further threads that only light jobs may use; none: half of concurrency, at least 1"),
    ("light_runtime_max", "capacity", "duration", "500ms", "ms", duration_from(1),
     "what 95 of 100 runs of a light task do not pass; what holds the CPU longer gets a child"),
    ("light_memory_max", "capacity", "size", "128MiB", "bytes", size_bytes,
     "and the memory that they do not pass, where they ever ran in a child"),
    ("queues", "worker", "names", QUEUE_DEFAULT, "", read_queues,
     "queues that a worker serves"),
    ("poll", "worker", "duration", "2s", "ms", duration_from(10),
     "slow poll under the wake-ups: how late a job may start when a wake-up got lost"),
    ("drain_grace", "worker", "duration", "25s", "ms", duration_from(0),
     "how long running jobs may finish after SIGTERM; below the 30 s of Kubernetes"),
    ("kill_grace", "worker", "duration", "1s", "ms", duration_from(0),
     "how long a job past its hard limit may tidy up before it is killed"),
    ("timeout", "worker", "duration", "", "ms", read_limit,
     "hard limit of attempts whose call and task name none; none: a job may be long"),
    ("soft_timeout", "worker", "duration", "", "ms", read_limit,
     "soft limit of attempts whose call and task name none; none: as timeout"),
    ("restart_above", "worker", "size", "", "bytes", read_bound,
     "memory of its processes together above which a worker drains and begins anew; none: never"),
    ("worker_name", "worker", "name", "", "", read_worker_name,
     "name of the worker; none: made of host and process id"),
    ("child_jobs_max", "child", "number", "10000", "", whole_number(1, 10**9),
     "jobs after which a child is replaced; every 100 also one grown by 64 MiB or 128 files"),
    ("child_age_max", "child", "duration", "1h", "ms", duration_from(0),
     "age at which a child is replaced, after its job: what it piled up unseen goes with it"),
    ("child_start_max", "child", "duration", "5min", "ms", duration_from(1),
     "how long a child may import the app and run its start hooks, a model's loading among them"),
    ("child_nice", "child", "number", "10", "", whole_number(0, 19),
     "how far children stand back from the worker and its light jobs when the CPUs are busy"),
    ("cgroups", "child", "auto | off", "auto", "", one_of("auto", "off"),
     "control groups that count and limit the memory of children, where the kernel lets us"),
    *OFFERED,
    ("lease_ttl", "lease", "duration", "12s", "ms", duration_from(300),
     "how long a lost host keeps its jobs; four extensions may fail before that"),
    ("lease_extend", "lease", "duration", "3s", "ms", duration_from(50),
     "how often a supervisor extends its leases, a quarter of their time"),
    ("reclaim_interval", "lease", "duration", "1s", "ms", duration_from(20),
     "how often a worker looks for leases that ran out"),
    ("runner_stall_report", "lease", "duration", "5s", "ms", duration_from(100),
     "a runner whose interpreter stood still this long is reported; 10 s is promised"),
    ("runner_stall_kill", "lease", "duration", "300s", "ms", duration_from(500),
     "such a runner is replaced after this long, its jobs are suspects"),
    ("retention_completed_age", "retention", "duration", _DAY, "ms", duration_from(0),
     "completed jobs and their results are kept this long"),
    ("retention_completed_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue, whichever bound is met first"),
    ("retention_dead_age", "retention", "duration", "14d", "ms", duration_from(0),
     "dead jobs are kept this long: time for people to look"),
    ("retention_dead_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue"),
    ("retention_cancelled_age", "retention", "duration", _DAY, "ms", duration_from(0),
     "cancelled jobs are kept this long"),
    ("retention_cancelled_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue"),
    ("retention_expired_age", "retention", "duration", _DAY, "ms", duration_from(0),
     "expired jobs are kept this long"),
    ("retention_expired_count", "retention", "number", _KEPT, "", _COUNT,
     "and at most this many per queue"),
    ("log_format", "log", "human | json", "human", "", one_of("human", "json"),
     "how log lines look"),
    ("log_level", "log", "debug | info | warning | error", "info", "",
     one_of("debug", "info", "warning", "error"),
     "least level that is logged; a completed job is debug, all a human must see is above"),
    ("log_file", "log", "path", "", "", read_text,
     "file that the worker's log goes to beside standard error; none: no file"),
)  # fmt: skip
