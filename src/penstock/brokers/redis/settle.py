"""settle: apply what workers decided; words and answers of `lua/settle.lua`.

transitions: see lua/settle.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.core import settlement as s
from penstock.core.job import NO_CHARGES, Charges

from .server import Word
from .stored import blob_of, error_text, to_raw

_ENCODE: Final = msgspec.json.encode
_KINDS: Final = {
    s.Retry: "retry",
    s.Snooze: "snooze",
    s.Release: "release",
    s.Bury: "bury",
    s.Cancel: "cancel",
}


def words_of(settlements: Sequence[s.Settlement], result_bytes_max: int) -> list[Word]:
    """Return the arguments of the script."""
    words: list[Word] = [len(settlements)]
    for item in settlements:
        if isinstance(item, s.Complete):
            words += _completion(item, result_bytes_max)
        else:
            words += _other(item)
    return words


def applied_of(
    settlements: Sequence[s.Settlement], answers: Sequence[bytes], result_bytes_max: int
) -> list[s.Applied]:
    """Return what became of each."""
    return [
        _applied(item, answer, result_bytes_max)
        for item, answer in zip(settlements, answers, strict=True)
    ]


def _applied(item: s.Settlement, answer: bytes, result_bytes_max: int) -> s.Applied:
    applied = s.Applied(answer.decode())
    if applied is s.Applied.APPLIED and isinstance(item, s.Complete):
        return applied if _fits(item, result_bytes_max) else s.Applied.RESULT_DROPPED
    return applied


def _completion(item: s.Complete, result_bytes_max: int) -> tuple[Word, ...]:
    fits = _fits(item, result_bytes_max)
    result = item.result if fits and item.result is not None else b""
    blob = blob_of(item.pid, item.outcome, error_text(item.error), dropped=not fits, result=result)
    return ("complete", to_raw(item.id), to_raw(item.fence), blob, int(bool(result)))


def _fits(item: s.Complete, result_bytes_max: int) -> bool:
    return item.result is None or len(item.result) <= result_bytes_max  # Guard: result fits


def _other(item: s.Retry | s.Snooze | s.Release | s.Bury | s.Cancel) -> tuple[Word, ...]:
    delay_ms = item.delay_ms if isinstance(item, s.Retry | s.Snooze) else 0
    reason = item.reason.value if isinstance(item, s.Bury | s.Cancel) else ""
    need = "" if isinstance(item, s.Bury | s.Cancel) else (item.need or "")
    return (
        _KINDS[type(item)],
        to_raw(item.id),
        to_raw(item.fence),
        "" if item.pid is None else item.pid,
        item.outcome,
        error_text(item.error),
        reason,
        delay_ms,
        _charges(item.charges),
        need,
    )


def _charges(charges: Charges) -> bytes:
    return b"" if charges == NO_CHARGES else _ENCODE(charges)
