"""The tables of the settings file: `[queues.*]`, `[routes]` and `[profiles.*]`.

Each table has its reader, in one list: a further table is a row in `_READERS`. Every error names
the file, the table, the key and the value, the rule, and the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from penstock.config.lanes import LANES
from penstock.config.profiles import Profiles, read_profiles
from penstock.config.queues import QueueTable, Route, read_queues, read_routes
from penstock.config.settings import SETTINGS
from penstock.errors import BadSetting


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables of the settings file say; empty where it has none.

    Attributes:
        queues: by name, in the order of the file.
        routes: in the order of the file: the first that matches a task's name decides.
        profiles: of the file; those that come along are known to it.
    """

    queues: Mapping[str, QueueTable] = {}
    routes: tuple[Route, ...] = ()
    profiles: Profiles = Profiles()


NO_TABLES: Final = Tables()

#: Name of a table -> what reads it, given the place for messages and what stands in it.
_READERS: Final[Mapping[str, Callable[[str, Mapping[str, Any]], Any]]] = {
    "queues": read_queues,
    "routes": read_routes,
    "profiles": read_profiles,
}


def parted(source: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (settings, tables) of a file: what stands at its top, and the tables known here.

    A list called `queues` is the setting of that name, a table is `[queues.*]`: a file that has the
    one cannot have the other, and says in `[profiles.*]` which queues a worker serves.
    """
    tables = {
        name: value
        for name, value in source.items()
        if name in _READERS and (name not in SETTINGS or isinstance(value, Mapping))
    }
    return {name: value for name, value in source.items() if name not in tables}, tables


def read_tables(where: str, source: Mapping[str, Any]) -> Tables:
    """Read the tables that `parted` found.

    Args:
        where: the file, for messages.
        source: name of a table -> what stands in it.

    Raises:
        BadSetting: a key is unknown or a value breaks its rule.
    """
    if not source:
        return NO_TABLES
    found = {}
    for name, table in source.items():
        if not isinstance(table, Mapping):
            raise BadSetting(
                f"{name} of {where} is {table!r:.80}, and no table: write [{name}], or {name} = "
                "{ ... }"
            )
        found[name] = _READERS[name](where, table)
    return Tables(**found)


def known_tables() -> str:
    """Return the tables that a file may have, for messages."""
    return ", ".join(f"[{name}]" for name in (*_READERS, LANES))
