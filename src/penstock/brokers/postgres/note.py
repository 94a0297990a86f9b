"""note: keep progress, checkpoints and log lines of running attempts.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.broker.requests import LOG_BYTES_MAX, LOG_LINES_MAX, Note

from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("note")


def note(tx: Transaction, notes: Sequence[Note]) -> list[bool]:
    """Write each note whose fence still holds."""
    return [_note_one(tx, item) for item in notes]


def _note_one(tx: Transaction, item: Note) -> bool:
    found = tx.row(_SQL["find"], {"id": item.id, "fence": item.fence})
    if found is None:
        return False
    if not found[0]:
        tx.send(_SQL["mark"], {"id": item.id})
    values = {
        "id": item.id,
        "progress": None if item.progress is None else bytes(item.progress),
        "checkpoint": None if item.checkpoint is None else bytes(item.checkpoint),
    }
    [(first, following, size)] = tx.rows(_SQL["note"], values)
    if item.log:
        _append(tx, item, first, following, size)
    return True


def _append(tx: Transaction, item: Note, first: int, following: int, size: int) -> None:
    """Append lines, and drop the oldest beyond the caps."""
    lines = [line.encode() for line in item.log]
    tx.send(_SQL["append"], {"id": item.id, "first": following, "lines": lines})
    size += sum(map(len, lines))
    following += len(lines)
    if following - first > LOG_LINES_MAX or size > LOG_BYTES_MAX:
        first, size = _cut(tx, item.id, first, following, size)
    values = {"id": item.id, "first": first, "following": following, "size": size}
    tx.send(_SQL["note_log"], values)


def _cut(tx: Transaction, job_id: str, first: int, following: int, size: int) -> tuple[int, int]:
    keep_from = max(first, following - LOG_LINES_MAX)  # Guard: log lines
    for (line_bytes,) in tx.rows(_SQL["sizes"], {"id": job_id}):
        if first >= keep_from and size <= LOG_BYTES_MAX:  # Guard: log bytes
            break
        size -= line_bytes
        first += 1
    tx.send(_SQL["cut"], {"id": job_id, "first": first})
    return first, size
