"""One broken promise."""

from __future__ import annotations

import msgspec


class Violation(msgspec.Struct, frozen=True):
    """Which job, which invariant, and what shows it.

    Attributes:
        job: its id; None where a queue or the whole system is at fault.
        evidence: the numbers and events that contradict each other.
        invariant: "I1" to "I12", filled in by the checker.
    """

    job: str | None
    evidence: str
    invariant: str = "?"

    def __str__(self) -> str:
        """Return one line for a report."""
        return f"{self.invariant} {self.job or '-'}: {self.evidence}"
