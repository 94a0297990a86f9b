"""What a child tells of the memory and time that an attempt took."""

from __future__ import annotations

import msgspec


class Measured(msgspec.Struct, frozen=True):
    """What a child saw of itself during an attempt.

    Attributes:
        baseline_bytes: resident before user code.
        peak_bytes: most that was resident at once; None where the kernel does not tell.
        cpu_ms: CPU time of the child and of the programs that it has waited for.
        file_bytes: pages of files that it has mapped since; they can be read again.
    """

    baseline_bytes: int
    peak_bytes: int | None
    cpu_ms: int
    file_bytes: int = 0
