"""In what a worker runs its jobs, as far as it may be written down. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

#: Variables that change how the same code behaves, and that hold no secret.
_NAMES: Final = frozenset(
    {
        "CUDA_VISIBLE_DEVICES", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH",
        "PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONHASHSEED", "PYTHONMALLOC", "PYTHONOPTIMIZE",
        "PYTHONPATH", "PYTHONUTF8", "PYTHONWARNINGS", "TMPDIR", "TZ", "VIRTUAL_ENV",
    }
)  # fmt: skip
#: The same by how they begin: locale, allocators, threads of numeric libraries, CUDA.
_PREFIXES: Final = ("LC_", "MALLOC_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "CUDA_", "NVIDIA_")
#: What secrets are called; such a variable is not even named.
_SECRET: Final = (
    "AUTH", "COOKIE", "CREDENTIAL", "DSN", "KEY", "PASS", "PRIVATE", "PWD", "SECRET", "SESSION",
    "SIGNATURE", "TOKEN",
)  # fmt: skip
#: Characters of one value that are kept.
VALUE_CHARS_MAX: Final = 256
#: Variables that are kept, and as many again that are only named.
VARIABLES_MAX: Final = 48
#: Characters of a name; a longer one is left out.
_NAME_CHARS_MAX: Final = 64


class Runtime(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """In what a process of a worker ran.

    Attributes:
        penstock: version of Penstock.
        python: version of Python.
        platform: system, release and architecture.
        packages: digest of what was installed, so that two machines can be told apart.
        environment: variables of its jobs that are known to be harmless, with their values.
        others: names of its jobs' other variables; their values may be secret and are not kept.
    """

    penstock: str
    python: str
    platform: str
    packages: str
    environment: dict[str, str] = {}
    others: tuple[str, ...] = ()


def kept_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return which variables are kept with their values, and which by name alone.

    What is known to be harmless is kept. A list of what is secret would never be whole: a password
    may stand in a variable of any name.
    """
    names = sorted(
        name
        for name in environ
        if not name.startswith("PENSTOCK_") and len(name) <= _NAME_CHARS_MAX
    )
    harmless = [name for name in names if name in _NAMES or name.startswith(_PREFIXES)]
    kept = {
        name: environ[name][:VALUE_CHARS_MAX]
        for name in harmless[:VARIABLES_MAX]
        if not looks_secret(name)
    }
    others = [name for name in names if name not in harmless and not looks_secret(name)]
    return kept, tuple(others[:VARIABLES_MAX])


def looks_secret(name: str) -> bool:
    """Return whether a variable of that name is likely to hold a secret."""
    upper = name.upper()
    return any(word in upper for word in _SECRET)
