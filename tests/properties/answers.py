"""Answers of two brokers, made comparable."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from penstock.testing.conformance import Snapshot, snapshot


def comparable(answer: Any) -> Any:
    """Return `answer` without what two brokers may differ in.

    Durability is a broker's own; the text of an error names it; jobs taken over have no order.
    """
    if isinstance(answer, r.Accepted):
        return msgspec.structs.replace(answer, durability=r.Durability.NONE)
    if isinstance(answer, r.Refused):
        return type(answer.error).__name__, getattr(answer.error, "job_id", None)
    if isinstance(answer, r.ReclaimAnswer):
        jobs = sorted(answer.jobs, key=lambda job: job.id)
        return jobs, sorted(answer.closed), answer.hold_ms
    if isinstance(answer, r.ExtendAnswer):
        return sorted(answer.lost), sorted(answer.cancels, key=lambda notice: notice.id)
    if isinstance(answer, list | tuple):
        return [comparable(item) for item in answer]
    return answer


def seen(broker: Broker) -> Snapshot:
    """Return what `broker` shows, without what only has a meaning in one state."""
    shown = snapshot(broker)
    shown["jobs"] = [_record(job) for job in shown["jobs"]]
    return shown


def _record(job: JobRecord) -> JobRecord:
    if job.state is State.BLOCKED:
        return job
    return msgspec.structs.replace(job, parents_left=0)
