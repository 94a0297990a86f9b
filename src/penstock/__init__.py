"""Penstock: background jobs that fit the machine.

Names are imported when they are first used: a process that only enqueues pays for nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.broker.requests import CancelAnswer, Durability
    from penstock.context import CurrentJob, current_job
    from penstock.core.lifecycle import State
    from penstock.core.retry import Exponential
    from penstock.core.secret import Secret
    from penstock.job import After, Job
    from penstock.signals import CancelRequested, Discard, Retry, Snooze, SoftTimeLimit
    from penstock.task import AsyncTask, Call, SyncTask, Task
    from penstock.tasks.library import library_task

__all__ = [
    "After",
    "App",
    "AsyncTask",
    "Call",
    "CancelAnswer",
    "CancelRequested",
    "CurrentJob",
    "Discard",
    "Durability",
    "Exponential",
    "Job",
    "Retry",
    "Secret",
    "Snooze",
    "SoftTimeLimit",
    "State",
    "SyncTask",
    "Task",
    "current_job",
    "library_task",
]

#: Public name -> module that defines it.
_PLACES: Final = {
    "After": "job",
    "App": "app",
    "AsyncTask": "task",
    "Call": "task",
    "CancelAnswer": "broker.requests",
    "CancelRequested": "signals",
    "CurrentJob": "context",
    "Discard": "signals",
    "Durability": "broker.requests",
    "Exponential": "core.retry",
    "Job": "job",
    "Retry": "signals",
    "Secret": "core.secret",
    "Snooze": "signals",
    "SoftTimeLimit": "signals",
    "State": "core.lifecycle",
    "SyncTask": "task",
    "Task": "task",
    "current_job": "context",
    "library_task": "tasks.library",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"penstock.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
