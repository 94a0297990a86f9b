"""`penstock config`: every setting with its value and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.cli.command import Answer
from penstock.cli.output import Column
from penstock.cli.session import Session

if TYPE_CHECKING:
    from penstock.config.resolve import Value


def config(session: Session) -> Answer:
    """Show all settings with their origins.

    Passwords are masked, and of keys only the ids shown. JSON: {"settings": [{"name", "value",
    "shown", "unit", "origin"}], "project": FOLDER, "file": FILE or null, "warnings": [TEXT]}; value
    is as the program holds it, shown as it was written.
    """
    found = session.config()
    out = session.output
    if out.as_json:
        out.document(
            {
                "settings": [_document(value) for value in found.values.values()],
                "project": str(found.project),
                "file": None if found.file is None else str(found.file),
                "warnings": found.warnings,
            }
        )
        return None
    rows = [
        [v.setting.name, _shown(v) or "-", v.origin, v.setting.env] for v in found.values.values()
    ]
    columns = [Column("setting", whole=True), Column("value"), Column("from"), Column("variable")]
    out.table(columns, rows)
    for warning in found.warnings:
        out.note(f"warning: {warning}")
    return None


def _shown(value: Value) -> str:
    return "" if value.value in (None, "") else value.shown


def _document(value: Value) -> dict[str, Any]:
    is_veiled = value.setting.name == "url" or value.setting.is_secret
    return {
        "name": value.setting.name,
        "value": value.shown if is_veiled else value.value,
        "shown": _shown(value),
        "unit": value.setting.unit,
        "origin": value.origin,
    }
