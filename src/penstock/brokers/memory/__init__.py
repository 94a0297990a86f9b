"""The broker in memory: the oracle of the other brokers, and the broker of tests."""

from __future__ import annotations

from .broker import MemoryBroker
from .store import Store

__all__ = ["MemoryBroker", "Store"]
