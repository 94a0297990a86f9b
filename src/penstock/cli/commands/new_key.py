"""`penstock new-key`: a key for the Secret arguments of jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.command import Answer
from penstock.cli.session import Session


def new_key(
    session: Session,
    key_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Name of the key. Default: the date and time."),
    ] = None,
) -> Answer:
    """Print a new key for PENSTOCK_SECRET_KEYS, which encrypts Secret arguments.

    It is made here and stored nowhere. Put it in front of the keys that are set: the first
    encrypts, all decrypt. JSON: {"id", "key"}; key is the whole entry, ID:KEY.
    """
    from datetime import UTC, datetime

    from penstock.core.secret import key_text
    from penstock.serializers.sealing import new_key as draw

    name = datetime.now(UTC).strftime("%Y-%m-%dT%H.%M.%S") if key_id is None else key_id
    entry = key_text(name, draw())
    if session.output.as_json:
        session.output.document({"id": name, "key": entry})
    else:
        session.output.line(entry)
    return None
