"""The broker on PostgreSQL: shared by the processes of many hosts, on a server that is there."""

from __future__ import annotations

from .broker import PostgresBroker

__all__ = ["PostgresBroker"]
