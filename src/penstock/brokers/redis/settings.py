"""Whether a server is set up so that accepted jobs are safe on it; asked before any is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from penstock.broker.requests import BrokerFacts, Durability
from penstock.errors import BadSetting, BrokerError

from .server import Server
from .weaknesses import weaknesses

#: Lines of INFO that tell of a replica; one that is connected may still load what it was sent.
_REPLICA: Final = re.compile(r"slave\d+")
#: Flags of scripts, which let settling go on while memory is full, came with Redis 7.0.
VERSION_MIN: Final = (7, 0)

#: Setting -> (the value it should have, whether another will do, what goes wrong else). What
#: endangers jobs is warned of by whoever opens the broker; these are for `doctor`.
_ADVISED: Final[Mapping[str, tuple[str, Callable[[str], bool], str]]] = {
    "appendfsync": (
        "everysec",
        lambda value: value in ("everysec", "always"),
        "what was accepted reaches the disk when the kernel likes, half a minute late",
    ),
    "auto-aof-rewrite-percentage": (
        "100",
        lambda value: value != "0",
        "the append-only file is never written anew and grows until the disk is full",
    ),
    "tcp-keepalive": (
        "60",
        lambda value: 0 < int(value) <= 60,  # noqa: PLR2004 - the value beside it
        "a client whose machine is gone is noticed late",
    ),
    "timeout": (
        "300",
        lambda value: value != "0",
        "connections that nobody uses stay for ever",
    ),
}

#: Part of `maxmemory` from which on `doctor` says so.
_NEARLY_FULL: Final = 0.9
_NOT_TOLD: Final = (
    "CONFIG is denied to this user: whether every write is synced (appendfsync) cannot be read, so "
    "that the class fsync is not given; let the user run `CONFIG GET`"
)


def check_settings(server: Server, durability: Durability) -> BrokerFacts:
    """Return what the server is and can give.

    Raises:
        BadSetting: it is too old, it evicts keys, or it cannot give the class of durability.
        Unavailable: it cannot be reached.
    """
    info = _info(server)
    version = info.get("valkey_version", info.get("redis_version", "0"))
    compatible = info.get("redis_version", version)
    if version_of(compatible) < VERSION_MIN:
        raise BadSetting(
            f"{server.where} runs Redis {compatible}: Penstock needs 7.0 or newer, or Valkey"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise BadSetting(
            f"{server.where} has maxmemory-policy {policy}, which deletes jobs when memory is full:"
            " set `maxmemory-policy noeviction`"
        )
    settings = _settings(server)
    classes = _classes(settings, info)
    if durability not in classes:
        ways = ", ".join(classes)
        raise BadSetting(
            f"durability {durability.value!r} is not to be had from {server.where} as it is set up:"
            f" use {ways}; `fsync` needs `appendonly yes` and `appendfsync always`, `replicated` a "
            "connected replica"
        )
    return BrokerFacts(
        kind="redis",
        location=server.where,
        version=version,
        durability=durability,
        durabilities=classes,
        warnings=_warnings(info),
        advice=(
            *_memory(info),
            *(_advice(settings) if settings else (_NOT_TOLD,)),
            *weaknesses("valkey" if "valkey_version" in info else "redis", version),
        ),
    )


def version_of(text: str) -> tuple[int, int]:
    """Return the first two numbers of a version, (0, 0) where it has none."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _info(server: Server) -> Mapping[str, str]:
    text = server.ask("INFO")
    lines = (line.partition(":") for line in text.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}


def _classes(settings: Mapping[str, str], info: Mapping[str, str]) -> tuple[Durability, ...]:
    classes = [Durability.LOCAL]
    replicas = (value for name, value in info.items() if _REPLICA.fullmatch(name))
    if any("state=online" in value for value in replicas):
        classes.append(Durability.REPLICATED)
    if info.get("aof_enabled") == "1" and settings.get("appendfsync") == "always":
        classes.append(Durability.FSYNC)
    return tuple(classes)


def _settings(server: Server) -> Mapping[str, str]:
    """Return the settings that are looked at; those that the server does not tell are missing."""
    try:
        found = server.ask("CONFIG", "GET", *_ADVISED)
    except BrokerError:
        return {}
    words = [word.decode() for word in found]
    return dict(zip(words[::2], words[1::2], strict=True))


def _advice(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return which settings differ from those of deploy/redis/redis.conf, and what they are for."""
    return tuple(
        f"{name} is {settings[name]}: {why}; set `{name} {value}`"
        for name, (value, is_well, why) in _ADVISED.items()
        if name in settings and not is_well(settings[name])
    )


def _memory(info: Mapping[str, str]) -> tuple[str, ...]:
    """Return that the memory is nearly full, if it is."""
    used, limit = int(info.get("used_memory", "0")), int(info.get("maxmemory", "0"))
    if not limit or used < _NEARLY_FULL * limit:
        return ()
    text = (
        f"{used * 100 // limit} % of its memory is used (maxmemory {limit} bytes): when it is full "
        "new jobs are refused; end or prune jobs, or set `maxmemory` higher"
    )
    return (text,)


def _warnings(info: Mapping[str, str]) -> tuple[str, ...]:
    warnings = []
    if info.get("aof_enabled") != "1":
        warnings.append(
            "appendonly is no: a restart loses what was accepted since the last snapshot; set "
            "`appendonly yes`"
        )
    if info.get("maxmemory") == "0":
        warnings.append(
            "maxmemory is 0: the server grows until the kernel kills it; set `maxmemory`"
        )
    return tuple(warnings)
