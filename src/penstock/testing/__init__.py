"""What users and writers of brokers test with. Nothing in production code imports it."""

from __future__ import annotations

from .clock import ManualClock

__all__ = ["ManualClock"]
