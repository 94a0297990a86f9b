"""settle: apply what workers decided; words and answers of `lua/settle.lua`.

transitions: see lua/settle.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import msgspec

from penstock.broker.stored import write_usage
from penstock.core import settlement as s
from penstock.core.job import NO_CHARGES, Charges

from .stored import blob_of, error_text, tag_of, to_raw, to_short
from .wire import Word

_Other = s.Retry | s.Snooze | s.Release | s.Bury | s.Cancel

_ENCODE: Final = msgspec.json.encode
#: A letter of the script -> what became of a completion.
_LETTERS: Final = {
    ord("a"): s.Applied.APPLIED,
    ord("d"): s.Applied.RESULT_DROPPED,
    ord("s"): s.Applied.STALE,
}
_KINDS: Final = {
    s.Retry: "retry",
    s.Snooze: "snooze",
    s.Release: "release",
    s.Bury: "bury",
    s.Cancel: "cancel",
}


class Words(NamedTuple):
    """The arguments of the script, and how its answer is read.

    Attributes:
        groups: of each group of completions, where its jobs stand among the settlements.
        others: where all other settlements stand.
        too_large: where the results stand that were over the cap, and were not sent.
    """

    words: list[Word]
    groups: list[list[int]]
    others: list[int]
    too_large: set[int]


def words_of(settlements: Sequence[s.Settlement], result_bytes_max: int) -> Words:
    """Return the arguments of the script: usages, completions by queue, fence and id, others."""
    groups: dict[tuple[str, str], list[int]] = {}
    others: list[int] = []
    for place, item in enumerate(settlements):
        if type(item) is s.Complete:
            groups.setdefault((tag_of(item.id), item.fence), []).append(place)
        else:
            others.append(place)
    words: list[Word] = [*_usages(settlements), len(groups)]
    too_large: set[int] = set()
    for (tag, fence), places in groups.items():
        # The script puts them into an ordered index; most come in order.
        places.sort(key=lambda place: settlements[place].id)
        words += (to_raw(tag), to_raw(fence), len(places))
        for place in places:
            item = cast("s.Complete", settlements[place])
            result = item.result or b""
            if len(result) > result_bytes_max:  # Guard: result fits
                too_large.add(place)
            words.append(to_short(item.id))
            words.append(_body(item, result, too_large=place in too_large))
    words.append(len(others))
    for place in others:
        words += _other(cast("_Other", settlements[place]))
    return Words(words, list(groups.values()), others, too_large)


def _usages(settlements: Sequence[s.Settlement]) -> list[Word]:
    measured = [(item.id, item.usage) for item in settlements if item.usage is not None]
    words: list[Word] = [len(measured)]
    for job_id, usage in measured:
        words += (to_raw(job_id), write_usage(usage))
    return words


def applied_of(asked: Words, answers: Sequence[bytes]) -> list[s.Applied]:
    """Return what became of each."""
    applied = [s.Applied.APPLIED] * (len(asked.others) + sum(map(len, asked.groups)))
    for places, letters in zip(asked.groups, answers, strict=False):
        if letters:
            for place, letter in zip(places, letters, strict=True):
                applied[place] = _LETTERS[letter]
    for place, word in zip(asked.others, answers[len(asked.groups) :], strict=True):
        applied[place] = s.Applied(word.decode())
    for place in asked.too_large:
        if applied[place] is s.Applied.APPLIED:
            applied[place] = s.Applied.RESULT_DROPPED
    return applied


def _body(item: s.Complete, result: bytes, *, too_large: bool) -> bytes:
    """Return what is kept of a completion."""
    if item.pid is None and item.error is None and not too_large:
        # The common case, written out.
        return b";%b;0;0;%b" % (item.outcome.encode(), result)
    kept = b"" if too_large else result
    return blob_of(item.pid, item.outcome, error_text(item.error), dropped=too_large, result=kept)


def _other(item: _Other) -> tuple[Word, ...]:
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
