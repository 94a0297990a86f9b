"""Which time limit holds for an attempt: the one that stands nearest to the call."""

from __future__ import annotations

from typing import Protocol


class SaysLimits(Protocol):
    """What may say how long an attempt lasts: a call, a task, the settings. None: nothing said."""

    @property
    def timeout_ms(self) -> int | None:
        """Hard limit; 0: none, whatever others say."""
        ...

    @property
    def soft_timeout_ms(self) -> int | None:
        """Soft limit; 0: none, whatever others say."""
        ...


def limits_ms(*nearest_first: SaysLimits | None) -> tuple[int, int]:
    """Return the (soft, hard) limit of an attempt in milliseconds; 0: none.

    Args:
        *nearest_first: the call, its task (None where it is not known), the settings. Each limit
            is taken from the first that says something about it.
    """
    soft = hard = None
    for one in nearest_first:
        if one is not None:
            soft = one.soft_timeout_ms if soft is None else soft
            hard = one.timeout_ms if hard is None else hard
    return soft or 0, hard or 0
