"""note: keep progress, checkpoints and log lines of running attempts.

transitions: none.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import LOG_BYTES_MAX, LOG_LINES_MAX, Note

from .store import Job, Store


def note(store: Store, notes: Sequence[Note]) -> list[bool]:
    """Write each note whose fence still holds. Cost: O(notes + log lines kept)."""
    return [_note_one(store, item) for item in notes]


def _note_one(store: Store, item: Note) -> bool:
    job = store.jobs.get(item.id)
    if job is None or job.fence != item.fence:  # Guard: fence
        return False
    if item.progress is not None:
        job.progress = bytes(item.progress)
    if item.checkpoint is not None:
        job.checkpoint = bytes(item.checkpoint)
    job.log.extend(item.log)
    _cap_log(job)
    return True


def _cap_log(job: Job) -> None:
    """Drop the oldest lines beyond the caps."""
    del job.log[:-LOG_LINES_MAX]  # Guard: log lines
    sizes = [len(line.encode()) for line in job.log]
    total, first = sum(sizes), 0
    while total > LOG_BYTES_MAX:
        total -= sizes[first]
        first += 1
    del job.log[:first]
