"""Numbers with their nouns, as people write them."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with what it counts: "1 job", "2 jobs", "1 job waits", "0 jobs wait".

    Args:
        count: how many.
        one: the words for exactly one.
        many: the words for any other number; None: `one` with an s.
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"
