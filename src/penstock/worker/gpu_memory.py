"""Whether an exception says that a GPU's memory ran out. Its class is never imported. Pure.

Sources: the exceptions of PyTorch (`torch.OutOfMemoryError`, before 2.5 `torch.cuda`'s; before 1.13
a RuntimeError with this text), CuPy (`cupy.cuda.memory`), JAX (`XlaRuntimeError` with the status
RESOURCE_EXHAUSTED, later `JaxRuntimeError`) and TensorFlow (`ResourceExhaustedError`).
"""

from __future__ import annotations

from typing import Final

#: Module (or what is above it) and class, as they stand in the line of an exception's classes.
_CLASSES: Final = (
    ("torch", "OutOfMemoryError"),
    ("cupy", "OutOfMemoryError"),
    ("cupy_backends", "OutOfMemoryError"),
    ("tensorflow", "ResourceExhaustedError"),
)
#: Classes that tell it by their text only.
_BY_TEXT: Final = frozenset({"RuntimeError", "XlaRuntimeError", "JaxRuntimeError"})
_TEXTS: Final = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "RESOURCE_EXHAUSTED: Out of memory",
)
#: Characters of the text that are looked at: it stands at the beginning.
_TEXT_CHARS: Final = 1_000


def is_gpu_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` was raised for want of a GPU's memory."""
    line = type(error).__mro__
    for module, name in _CLASSES:
        if any(_is(one, module, name) for one in line):
            return True
    if not any(one.__name__ in _BY_TEXT for one in line):
        return False
    try:
        text = str(error)[:_TEXT_CHARS]
    except Exception:  # noqa: BLE001 - the text is made by user code
        return False
    return any(words in text for words in _TEXTS)


def _is(found: type, module: str, name: str) -> bool:
    # User code may have put anything there.
    where = str(found.__module__)
    return found.__name__ == name and (where == module or where.startswith(f"{module}."))
