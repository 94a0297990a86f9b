"""What users and writers of brokers test with. Nothing in production code imports it."""

from __future__ import annotations

from .clock import ManualClock
from .faulty import Call, Fault, FaultyBroker, Plan, fail_nth

__all__ = ["Call", "Fault", "FaultyBroker", "ManualClock", "Plan", "fail_nth"]
