"""The broker on one Redis or Valkey server; docs/explanation/redis-layout.md explains its keys."""

from __future__ import annotations

from .broker import RedisBroker

__all__ = ["RedisBroker"]
