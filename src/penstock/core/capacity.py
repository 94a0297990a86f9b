"""What a worker can take; facts, of which the broker knows no meaning."""

from __future__ import annotations

import msgspec


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the worker behind a lease can take, all of it, whatever of that is in use.

    Attributes:
        memory_bytes: its budget; None: it has none.
        slots: jobs that it runs at a time; None: not told.
        labels: names of what it offers, which jobs may ask for.
        gpu_memory_bytes: memory of each GPU that it may use, in the order of the devices.
        resources: other things by name, and how many of each.
    """

    memory_bytes: int | None = None
    slots: int | None = None
    labels: tuple[str, ...] = ()
    gpu_memory_bytes: tuple[int, ...] = ()
    resources: dict[str, int] = {}
