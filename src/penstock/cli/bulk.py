"""An operator's verb over all jobs that match, in bounded batches between which workers work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from penstock.broker.protocol import Broker
    from penstock.broker.requests import JobFilter, OperatorAnswer
    from penstock.core.ids import JobId

#: Jobs per call: one write transaction of some milliseconds; the port allows 500.
BATCH: Final = 200

Verb = Callable[["Sequence[JobId]"], "Sequence[OperatorAnswer]"]


def over_all(broker: Broker, where: JobFilter, verb: Verb, progress: Callable[[int], None]) -> int:
    """Apply `verb` to every job that matches now; return how many it changed.

    Each page is read below the last id of the page before, so a job that matches again (a requeued
    one that died again) is not done twice, and the walk ends. The verb's own guard decides about
    jobs that moved on meanwhile.

    Args:
        broker: to be walked through.
        where: which jobs.
        verb: `broker.requeue` or `broker.delete`.
        progress: called after each batch with the jobs changed so far.
    """
    changed, before = 0, None
    while True:
        page = broker.list_jobs(where, limit=BATCH, before=before)
        if page.jobs:
            answers = verb([record.id for record in page.jobs])
            changed += sum(answer == "done" for answer in answers)
            progress(changed)
        if page.next_before is None:
            return changed
        before = page.next_before
