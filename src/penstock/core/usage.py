"""What an attempt was measured to take; facts, of which the broker knows no meaning."""

from __future__ import annotations

import msgspec

from penstock.core.memory_curve import Point
from penstock.core.runtime import Runtime


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What an attempt in a child process was measured to take. None: not known.

    Attributes:
        peak_bytes: the most that it held at once.
        baseline_bytes: what its process held just before user code began.
        reserved_bytes: what was set aside for it.
        limit_bytes: what it might not pass.
        measured: how the peak was measured: "cgroup", "hwm" (the process's own high-water mark) or
            "sampled" (looked at now and then, so that a short peak may be missing).
        cpu_ms: processor time, user and system, of the process and its children.
        evidence: what shows that it ran out of memory; capped by who makes it.
        curve: what it held over time, at most `memory_curve.POINTS_MAX` points; empty where the
            attempt succeeded, for then nobody will ask.
        runtime: in what it ran; None where it succeeded, too.
    """

    peak_bytes: int | None = None
    baseline_bytes: int | None = None
    reserved_bytes: int | None = None
    limit_bytes: int | None = None
    measured: str | None = None
    cpu_ms: int | None = None
    evidence: str | None = None
    curve: tuple[Point, ...] = ()
    runtime: Runtime | None = None
