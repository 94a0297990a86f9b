"""The rules of the port as checks, so that every broker refuses the same calls in the same words.

Each check raises before anything is written; what they raise is always the caller's mistake.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.broker.requests import (
    AMOUNT_MAX,
    BATCH_MAX,
    FIELD_CHARS_MAX,
    OFFERS_MAX,
    PROFILE_CHARS_MAX,
    TALLY_FIELDS_MAX,
    BrokerFacts,
    ClaimRequest,
    Durability,
    EnqueueRequest,
    Tally,
)
from penstock.core.ids import queue_tag_of
from penstock.core.settlement import Settlement
from penstock.errors import BadSetting, UsageError

#: What a caller can do after `OutcomeUnknown`.
AGAIN = "made again with the same key= (or, at the port, the same ids) it makes one job, never two"


def check_batch(name: str, items: Sequence[object], *, least: int = 0) -> None:
    """Refuse a batch outside `least`..BATCH_MAX.

    Raises:
        UsageError: it has fewer or more items.
    """
    if not least <= len(items) <= BATCH_MAX:
        raise UsageError(
            f"{name} has {len(items)} items: give {least} to {BATCH_MAX}, and cut longer lists"
        )


def check_limit(limit: int) -> None:
    """Refuse a limit outside 1..BATCH_MAX.

    Raises:
        UsageError: it is outside.
    """
    if not 1 <= limit <= BATCH_MAX:
        raise UsageError(f"limit {limit} is not allowed: give 1 to {BATCH_MAX}, and call again")


def check_durability(asked: Durability | None, facts: BrokerFacts) -> Durability:
    """Return the class that an enqueue gets.

    Raises:
        BadSetting: the broker cannot give the class asked for.
    """
    if asked is None:
        return facts.durability
    if asked not in facts.durabilities:
        ways = ", ".join(facts.durabilities)
        raise BadSetting(
            f"durability {asked.value!r} is not to be had from {facts.kind} as it is set up: ask "
            f"for {ways}, or look at what `penstock doctor` says of it"
        )
    return asked


def check_enqueue(job: EnqueueRequest, tag: int | None) -> None:
    """Refuse a request that contradicts itself.

    Args:
        job: the request.
        tag: tag of its queue; None: the queue is not registered.

    Raises:
        UsageError: unregistered queue, an id of another queue, two due times, or a parent twice.
    """
    if tag is None:
        raise UsageError(f"queue {job.queue!r} is not registered: call register first")
    if queue_tag_of(job.id) != tag:
        raise UsageError(
            f"job id {job.id} carries tag {queue_tag_of(job.id)}, queue {job.queue!r} has {tag}: "
            "draw the id with the tag that register gave"
        )
    if job.delay_ms is not None and job.due_at is not None:
        raise UsageError(f"job {job.id} has delay_ms and due_at: give one of them")
    if len({parent.id for parent in job.parents}) != len(job.parents):
        raise UsageError(f"job {job.id} names a parent twice: name each parent once")


def check_claim(request: ClaimRequest) -> None:
    """Refuse a claim outside the bounds of the port.

    Raises:
        UsageError: limit outside 1..BATCH_MAX, over OFFERS_MAX sets, or a queue offered twice.
    """
    check_limit(request.limit)
    offered = sum(len(offer.needs) for offer in request.offers)
    if offered > OFFERS_MAX:
        raise UsageError(
            f"{offered} ready sets are offered: offer at most {OFFERS_MAX} in one claim, in turn"
        )
    if len({offer.queue for offer in request.offers}) != len(request.offers):
        raise UsageError("a queue is offered twice: put all its ready sets into one offer")


def check_settlements(settlements: Sequence[Settlement]) -> None:
    """Refuse a batch of settlements that is too long or names a job twice.

    Raises:
        UsageError: over BATCH_MAX items, or two for one job.
    """
    check_batch("settlements", settlements)
    if len({settlement.id for settlement in settlements}) != len(settlements):
        raise UsageError("a job is settled twice in one batch: give one settlement per job")


def check_tallies(tallies: Sequence[Tally]) -> None:
    """Refuse tallies outside the bounds of the port.

    Raises:
        UsageError: over BATCH_MAX of them; a name that is empty, too long or not printable; over
            TALLY_FIELDS_MAX fields; or an amount that is no number from 0 to AMOUNT_MAX.
    """
    check_batch("tallies", tallies)
    for tally in tallies:
        _check_text("profile", tally.profile, PROFILE_CHARS_MAX)
        if len(tally.adds) > TALLY_FIELDS_MAX:
            raise UsageError(
                f"profile {tally.profile!r:.80} gets {len(tally.adds)} fields in one tally: give "
                f"at most {TALLY_FIELDS_MAX}, and another tally for more"
            )
        for field, amount in tally.adds.items():
            _check_text("field", field, FIELD_CHARS_MAX)
            if not 0 <= amount <= AMOUNT_MAX:  # NaN is in no order
                raise UsageError(
                    f"field {field!r} of profile {tally.profile!r:.80} gets {amount!r:.80}: give "
                    f"a number from 0 to {AMOUNT_MAX:g}"
                )


def check_profiles(profiles: Sequence[str]) -> None:
    """Refuse to look up more profiles than a call may, or one that no tally can name.

    Raises:
        UsageError: over BATCH_MAX; or a name that is empty, too long or not printable.
    """
    check_batch("profiles", profiles)
    for profile in profiles:
        _check_text("profile", profile, PROFILE_CHARS_MAX)


def _check_text(kind: str, text: str, chars_max: int) -> None:
    # Not every store could hold the others, U+0000 and halves of a pair among them.
    if not 1 <= len(text) <= chars_max or not text.isprintable():
        raise UsageError(
            f"{kind} {text!r:.80} is not allowed: use 1 to {chars_max} printable characters"
        )
