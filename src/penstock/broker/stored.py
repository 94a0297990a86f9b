"""The immutable record of a job as bytes: JSON, written once, read back with every flaw named."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock.core.job import JobSpec

#: What stands in for a spec that cannot be read.
NO_SPEC: Final = JobSpec(task="", payload=msgspec.Raw(b"null"))

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(JobSpec)


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
