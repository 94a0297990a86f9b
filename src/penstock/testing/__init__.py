"""What users and writers of brokers test with. Nothing in production code imports it.

Names are imported when they are first used: pytest loads this package in every run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .clock import ManualClock
    from .faulty import Call, Fault, FaultyBroker, Plan, fail_nth
    from .sandbox import Sandbox
    from .sandbox_worker import Ran

__all__ = [
    "Call",
    "Fault",
    "FaultyBroker",
    "ManualClock",
    "Plan",
    "Ran",
    "Sandbox",
    "fail_nth",
]

#: Public name -> module that defines it.
_PLACES: Final = {
    "Call": "faulty",
    "Fault": "faulty",
    "FaultyBroker": "faulty",
    "ManualClock": "clock",
    "Plan": "faulty",
    "Ran": "sandbox_worker",
    "Sandbox": "sandbox",
    "fail_nth": "faulty",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'penstock.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"penstock.testing.{place}"), name)
    globals()[name] = value
    return value
