"""The SQL of the adapter: `sql/VERB.sql`, cut into named statements, read once per process.

A statement starts at a line `-- name: NAME` and ends where the next one starts. Everything above
the first is the header of the file: purpose and cost. Comments are cut off before a statement is
sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT: Final = re.compile(r"[ ]*--.*$", re.MULTILINE)
_MIGRATION: Final = re.compile(r"(\d{4})_\w+\.sql")


def read_statements(verb: str) -> Mapping[str, str]:
    """Return the statements of `sql/VERB.sql` by name. Cost: one small file."""
    text = files(__package__).joinpath("sql", f"{verb}.sql").read_text(encoding="utf-8")
    _header, *parts = _NAME.split(text)
    return {
        name: _COMMENT.sub("", body).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def read_migrations() -> Mapping[int, str]:
    """Return `sql/migrations/NUMBER_NAME.sql` by number, in order; together they are the schema."""
    folder = files(__package__).joinpath("sql", "migrations")
    found = {
        int(name[1]): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if (name := _MIGRATION.fullmatch(file.name)) is not None
    }
    return dict(sorted(found.items()))
