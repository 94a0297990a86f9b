"""What is stored of a job as bytes: JSON, read back with every flaw named."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.core.capacity import Capacity
from penstock.core.job import NO_CHARGES, Charges, JobSpec
from penstock.core.usage import Usage

#: What stands in for a spec that cannot be read.
NO_SPEC: Final = JobSpec(task="", payload=msgspec.Raw(b"null"))

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(JobSpec)
_CHARGES_DECODER: Final = msgspec.json.Decoder(Charges)
_USAGE_DECODER: Final = msgspec.json.Decoder(Usage)
_CAPACITY_DECODER: Final = msgspec.json.Decoder(Capacity)


def write_spec(spec: JobSpec) -> bytes:
    """Return the spec as JSON."""
    return _ENCODER.encode(spec)


def read_spec(stored: bytes | str) -> tuple[JobSpec, str | None]:
    """Return (spec, None), or (`NO_SPEC`, what is wrong). Never raises on bad bytes.

    A record that cannot be read must not stop the jobs behind it: it is handed out with its flaw,
    and the worker buries it.
    """
    try:
        return _DECODER.decode(stored), None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return NO_SPEC, f"{type(error).__name__}: {error}"


def read_charges(stored: bytes | str | None) -> tuple[Charges, str | None]:
    """Return (charges, None), or (`NO_CHARGES`, what is wrong). Never raises on bad bytes.

    Args:
        stored: JSON; None: nothing was charged.
    """
    if stored is None:
        return NO_CHARGES, None
    try:
        return _CHARGES_DECODER.decode(stored), None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return NO_CHARGES, f"charges: {type(error).__name__}: {error}"


def write_usage(usage: Usage) -> bytes:
    """Return the usage of an attempt as JSON."""
    return _ENCODER.encode(usage)


def read_usage(stored: bytes | str | None) -> Usage | None:
    """Return the usage, None where there is none or it cannot be read. Never raises on bad bytes.

    Nothing is decided by the usage of an attempt that is over.
    """
    if stored is None:
        return None
    try:
        return _USAGE_DECODER.decode(stored)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def write_capacity(capacity: Capacity) -> bytes:
    """Return the capacity of a worker as JSON."""
    return _ENCODER.encode(capacity)


def read_capacity(stored: bytes | str | None) -> Capacity | None:
    """Return the capacity, None where there is none or it cannot be read. Never raises on it."""
    if stored is None:
        return None
    try:
        return _CAPACITY_DECODER.decode(stored)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
