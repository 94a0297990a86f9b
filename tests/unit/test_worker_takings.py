"""What the next attempt after running out of memory starts from."""

from __future__ import annotations

import pytest

from penstock.core.memory import limit_bytes
from penstock.core.usage import Usage
from penstock.worker.supervisor.grants import Grant
from penstock.worker.supervisor.takings import out_of_memory

MIB = 2**20
GIB = 2**30
RESERVED = 512 * MIB


@pytest.mark.parametrize(
    ("limit", "peak", "largest", "known"),
    [
        # Its limit follows from its reservation: that is what it was given.
        (limit_bytes(RESERVED), 600 * MIB, 6 * GIB, RESERVED),
        # There was none: only what it took tells what it needs.
        (None, 3 * GIB, 6 * GIB, 3 * GIB),
        (None, 100 * MIB, 6 * GIB, RESERVED),
        # It might take all of its worker, which is the largest, and took that.
        (6 * GIB, 6 * GIB + 5 * MIB, 6 * GIB, 6 * GIB + 5 * MIB),
        # The same, and there is a larger worker.
        (6 * GIB, 6 * GIB + 5 * MIB, 10 * GIB, 6 * GIB + 5 * MIB),
        # It ended before it had all of that.
        (6 * GIB, 2 * GIB, 6 * GIB, 2 * GIB),
        (6 * GIB, 100 * MIB, 6 * GIB, RESERVED),
    ],
)
def test_an_attempt_had_what_it_was_seen_to_take(
    limit: int | None, peak: int, largest: int, known: int
) -> None:
    """Where it might take more than was reserved for it; the next one begins above that."""
    usage = Usage(peak_bytes=peak, reserved_bytes=RESERVED, limit_bytes=limit)
    outcome = out_of_memory("it ran out", usage, Grant(RESERVED, limit), largest, None)
    assert (outcome.reserved_bytes, outcome.largest_bytes) == (known, largest)
