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

from penstock.broker import schema

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT: Final = re.compile(r"[ ]*--.*$", re.MULTILINE)


def read_statements(verb: str) -> Mapping[str, str]:
    """Return the statements of `sql/VERB.sql` by name. Cost: one small file."""
    text = files(__package__).joinpath("sql", f"{verb}.sql").read_text(encoding="utf-8")
    _header, *parts = _NAME.split(text)
    return {
        name: _COMMENT.sub("", body).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def read_migrations() -> tuple[schema.Migration, ...]:
    """Return `sql/migrations/NUMBER_NAME.sql` in order; together they are the schema."""
    folder = files(__package__).joinpath("sql", "migrations")
    return schema.read_migrations(
        (file.name, file.read_text(encoding="utf-8")) for file in folder.iterdir()
    )
