"""delete: forget final jobs now.

transitions:
    completed --prune--> (none)
    dead --prune--> (none)
    cancelled --prune--> (none)
    expired --prune--> (none)
    blocked --parent_failed--> cancelled
    blocked --unblock--> queued
    blocked --unblock--> scheduled
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from penstock.broker.requests import OperatorAnswer
from penstock.core.ids import JobId
from penstock.core.lifecycle import FINAL

from .forget import Ended, forget
from .statements import read_statements
from .transaction import Transaction

_SQL: Final = read_statements("forget")


def delete(tx: Transaction, ids: Sequence[JobId]) -> list[OperatorAnswer]:
    """Forget each job that is final."""
    return [_delete_one(tx, job_id) for job_id in ids]


def _delete_one(tx: Transaction, job_id: JobId) -> OperatorAnswer:
    found = tx.row(_SQL["find"], {"id": job_id})
    if found is None:
        return OperatorAnswer.NOT_FOUND
    job = Ended(*found)
    if job.state not in FINAL:  # Guard: only final jobs
        return OperatorAnswer.WRONG_STATE
    forget(tx, [job])
    return OperatorAnswer.DONE
