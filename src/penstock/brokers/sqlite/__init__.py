"""The broker on one SQLite file: embedded, durable, shared by the processes of one host."""

from __future__ import annotations

from .broker import SqliteBroker

__all__ = ["SqliteBroker"]
