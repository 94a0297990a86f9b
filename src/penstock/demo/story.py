"""What happens to the watched jobs of the demo, told line by line. Pure: records in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.cli.shapes import error_line
from penstock.cli.times import span
from penstock.core.job import AttemptRecord, JobRecord
from penstock.core.lifecycle import FINAL


class Story:
    """Remembers what it has told, so that every attempt and every end is told once."""

    def __init__(self) -> None:
        """Start with nothing told."""
        self._told: set[str] = set()

    def lines(self, records: Sequence[JobRecord]) -> Iterator[str]:
        """Yield what is new in these records."""
        for record in records:
            for line in _all_lines(record):
                if line not in self._told:
                    self._told.add(line)
                    yield line


def _all_lines(record: JobRecord) -> Iterator[str]:
    name = f"{record.spec.task.rpartition('.')[2]} ({record.id[-6:]})"
    for attempt in record.attempts:
        if attempt.ended_at is not None:
            yield f"{name}: attempt {attempt.number} in process {attempt.pid} {_end(attempt)}"
    if record.state in FINAL:
        took = span((record.finished_at or record.enqueued_at) - record.enqueued_at)
        why = f" ({record.reason})" if record.reason else ""
        yield f"{name}: {record.state}{why} {took} after it was enqueued"


def _end(attempt: AttemptRecord) -> str:
    error = error_line(attempt.error)
    return f"{attempt.outcome}: {error}" if error else f"{attempt.outcome}"
