"""What a child asks of the broker, and what the supervisor answers; see `wire`."""

from __future__ import annotations

import msgspec

from penstock.broker.requests import Accepted, Durability, EnqueueRequest


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A child's call on the broker, answered by `Answer` with the same number.

    Exactly one is meant: `enqueue` (jobs not empty) or `register` (queues not empty).
    """

    number: int
    jobs: tuple[EnqueueRequest, ...] = ()
    durability: Durability | None = None
    queues: tuple[str, ...] = ()


class AskRefusal(msgspec.Struct, frozen=True, tag="refused"):
    """An error as data: the class's name in `penstock.errors`, looked up, never imported."""

    kind: str
    message: str
    job_id: str | None = None


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The supervisor's answer to an `Ask`."""

    number: int
    jobs: tuple[Accepted | AskRefusal, ...] = ()
    tags: dict[str, int] = {}
    failure: AskRefusal | None = None
