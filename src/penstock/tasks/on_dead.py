"""The job that a task's `on_dead` asks for when one of its jobs is buried.

Its id follows from the dead job and its claim, so that whoever buries may send it again after an
unknown answer and there is still one job. It is sent after the burial is written: a worker that
dies in between sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from penstock.broker.requests import EnqueueRequest
from penstock.core.ids import enqueued_at_of, make_job_id
from penstock.core.job import Claimed, JobSpec
from penstock.core.manifest import TaskFacts
from penstock.core.settlement import Bury, Settlement

#: Arguments that it is enqueued with: id of the dead job, `core.job.Reason`, and the error's text
#: with its traceback or None.
ARGUMENTS: Final = ("job_id", "reason", "error")
#: What such a job is triggered by.
_CAUSE: Final = "on_dead"
#: Hexadecimal digits of 48 bits, the random part of an id.
_RANDOM_DIGITS: Final = 12


def on_dead_target(
    dead: Claimed, settlement: Settlement, find: Callable[[str], TaskFacts | None]
) -> TaskFacts | None:
    """Return the task to enqueue after a settlement was applied, None if there is none.

    A job that was itself enqueued by `on_dead` gets none: two tasks that name each other would
    else bury each other's jobs for ever.

    Args:
        dead: the job as it was claimed.
        settlement: what was applied.
        find: the facts of a task by name or alias.
    """
    if not isinstance(settlement, Bury) or dead.spec.triggered_by == _CAUSE:
        return None
    task = find(dead.spec.task)
    return None if task is None or task.on_dead is None else find(task.on_dead)


def on_dead_request(
    dead: Claimed, bury: Bury, target: TaskFacts, tags: Mapping[str, int]
) -> EnqueueRequest:
    """Return the request for the `on_dead` job.

    Args:
        dead: the job as it was claimed.
        bury: the settlement that was applied.
        target: the task that `on_dead` names.
        tags: tags of queues, at least that of `target.queue`.
    """
    import hashlib

    draw = hashlib.sha256(f"{dead.id}:{dead.claim_number}".encode()).hexdigest()
    random_48 = int(draw[:_RANDOM_DIGITS], 16)
    error = bury.error
    text = None if error is None else error.traceback or f"{error.kind}: {error.message}"
    values = (dead.id, str(bury.reason), text)
    payload = msgspec.json.encode(dict(zip(ARGUMENTS, values, strict=True)))
    return EnqueueRequest(
        id=make_job_id(enqueued_at_of(dead.id), 0, tags[target.queue], random_48),
        queue=target.queue,
        spec=JobSpec(
            task=target.name,
            payload=msgspec.Raw(payload),
            priority=target.priority,
            need=target.need,
            triggered_by=_CAUSE,
        ),
    )
