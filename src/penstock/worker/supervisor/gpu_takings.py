"""What is said of an attempt that ran out of a GPU's memory. Pure."""

from __future__ import annotations

import msgspec

from penstock.core import outcome as o
from penstock.core.job import StoredError
from penstock.core.memory import mib

from .grants import Grant


def out_of_gpu_memory(said: o.OutOfMemory, grant: Grant, largest_bytes: int) -> o.OutOfMemory:
    """Return the outcome with what the attempt was given in it.

    Args:
        said: the child's own word, which knows nothing of that.
        grant: what it was given.
        largest_bytes: memory of the largest GPU of any worker alive.
    """
    if not grant.devices:
        text = f"{said.error.message}; the job was given no GPU: gpu_memory=... sets a part aside"
        return msgspec.structs.replace(said, error=_with(said.error, text))
    text = f"{said.error.message}; it was given {mib(grant.gpu_memory_bytes)} of {_names(grant)}"
    error = _with(said.error, text)
    return o.OutOfMemory(error, grant.gpu_memory_bytes, largest_bytes, of_gpu=True)


def _with(error: StoredError, text: str) -> StoredError:
    return msgspec.structs.replace(error, message=text)


def _names(grant: Grant) -> str:
    return "GPU " + ", ".join(grant.devices)
