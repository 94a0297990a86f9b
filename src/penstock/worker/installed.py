"""What is installed where this process runs, and in what it runs."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

from penstock.core.runtime import Runtime, kept_environment

_INFO: Final = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)\.dist-info\Z")
_EGG: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.egg-info\Z")


def installed(path: Sequence[str] | None = None) -> dict[str, str]:
    """Return the installed distributions, name -> version, in the order of their names.

    Read from the names of their folders: opening each for its own word would take a supervisor a
    tenth of a second.

    Args:
        path: where modules are looked for; None: where this process looks.
    """
    found: dict[str, str] = {}
    for folder in sys.path if path is None else path:
        try:
            with os.scandir(folder or ".") as entries:
                names = [entry.name for entry in entries]
        except OSError:
            # An archive, or a folder that is not there: nothing is told by names.
            continue
        for name in names:
            told = _INFO.match(name) or _EGG.match(name)
            if told is not None:
                # As in an import, what is found first is used.
                found.setdefault(told["name"].lower().replace("-", "_"), told["version"])
    return dict(sorted(found.items()))


def digest_of(packages: Mapping[str, str]) -> str:
    """Return 64 bits by which two sets of packages are told apart."""
    text = "\n".join(f"{name}=={packages[name]}" for name in sorted(packages))
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def runtime_of(environ: Mapping[str, str]) -> Runtime:
    """Return in what this process runs. Cost: one listing for each folder of modules.

    Args:
        environ: what its jobs are given.
    """
    environment, others = kept_environment(environ)
    return Runtime(
        penstock=version("penstock"),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages=digest_of(installed()),
        environment=environment,
        others=others,
    )
