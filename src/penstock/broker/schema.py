"""Versions of what a store holds, and who may open it; one rule for all adapters (ADR-0026).

A store says two numbers. Its *version* is that of the last migration that was made in it. What it
*needs* is the version that a Penstock must know to open it: a migration that only adds leaves it
alone, so that workers one version back go on beside new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from penstock.errors import NewerSchema

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")
_NEEDS: Final = re.compile(r"^-- needs: (\d+)$", re.MULTILINE)


class Schema(NamedTuple):
    """What a store says of itself.

    Attributes:
        version: of the last migration that was made in it.
        needs: version that a Penstock must know to open it.
    """

    version: int
    needs: int


#: A store of before these two numbers were kept: version 1 of each layout.
FIRST: Final = Schema(version=1, needs=1)


class Migration(NamedTuple):
    """One step from a version to the next.

    Attributes:
        version: that a store has after it.
        needs: version that a Penstock must know to open it from then on.
        sql: what is done.
    """

    version: int
    needs: int
    sql: str


def read_migrations(files: Iterable[tuple[str, str]]) -> tuple[Migration, ...]:
    """Return the migrations among (name, text) of files `NUMBER_NAME.sql`, in order.

    Raises:
        ValueError: a number is missing, or a file does not say `-- needs: VERSION`, with its own
            version or the one before.
    """
    found = []
    for name, text in sorted(files):
        if number := _NAME.fullmatch(name):
            needs = _NEEDS.search(text)
            if needs is None:
                raise ValueError(f"{name} does not say which version it needs: -- needs: VERSION")
            version, needed = int(number[1]), int(needs[1])
            if not max(1, version - 1) <= needed <= version:
                raise ValueError(
                    f"{name} needs version {needed}: a release before the last one would misread "
                    f"what it makes; use {max(1, version - 1)} or {version}"
                )
            found.append(Migration(version, needed, text))
    if [one.version for one in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are not numbered 1, 2, ...: {[one.version for one in found]}")
    return tuple(found)


def check_schema(found: Schema, knows: int, where: str, *, or_else: str) -> None:
    """Refuse a store that is beyond a Penstock which knows version `knows`.

    Args:
        found: what the store says.
        knows: version that the adapter reads and writes.
        where: the store, for the error.
        or_else: what else can be done than to upgrade.

    Raises:
        NewerSchema: it needs a newer one; nothing was changed.
    """
    if found.needs > knows:
        raise NewerSchema(
            f"{where} has schema version {found.version}, made by a newer Penstock, and may be "
            f"opened from version {found.needs} on; this one knows {knows}: upgrade Penstock, or "
            f"{or_else}"
        )
