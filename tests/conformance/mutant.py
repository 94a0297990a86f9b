"""Runs the conformance suite on a copy of an adapter from which one guard was taken."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import apsw
import psycopg
import pytest

from penstock.errors import Unavailable
from penstock.testing.conformance import Case, Harness
from tests.conformance.guards import Guard, Mutant
from tests.support.redis_pages import pages_text

#: A mutant that dies of these is no program: it proves nothing about the suite.
NO_PROGRAM = (
    SyntaxError,
    ImportError,
    NameError,
    apsw.SQLError,
    apsw.BindingsError,
    psycopg.errors.SyntaxErrorOrAccessRuleViolation,
)

#: What Redis says of a script that is no Lua.
NO_LUA = "Error compiling script"

#: The Redis adapter with pages of two entries, which split and end all the time.
SMALL_PAGES: Final = Mutant(Guard("lua/pages.lua", 0, "size"), "pages of two", pages_text(2))

MakeHarness = Callable[[Path, Any], Harness]
"""(folder, the adapter's package) -> a harness on a fresh store."""


@contextmanager
def imported_copy(package: Path, folder: Path, mutant: Mutant | None) -> Iterator[ModuleType]:
    """Import a copy of `package` under a name of its own, with one file replaced.

    The adapters import their own modules relatively, so that a copy is whole by itself.
    """
    name = f"{package.name}_without_{folder.name}"
    copy = folder / name
    shutil.copytree(package, copy)
    if mutant is not None:
        (copy / mutant.guard.file).write_text(mutant.text)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for module in [module for module in sys.modules if module.split(".")[0] == name]:
            del sys.modules[module]


class Failure(NamedTuple):
    """A case that failed, and why."""

    case: Case
    why: str

    def __str__(self) -> str:
        return f"{self.case}: {self.why}"


def first_failure(
    module: ModuleType, make: MakeHarness, suite: Sequence[Case], folder: Path
) -> Failure | None:
    """Return the first case that fails, and why; None: all pass.

    Raises:
        AssertionError: the copy is no program.
    """
    for number, case in enumerate(suite):
        store = folder / f"store-{number}"
        store.mkdir()
        harness = make(store, module)
        try:
            case.run(harness)
        except NO_PROGRAM as error:
            raise AssertionError(f"the copy is no program: {error!r}") from error
        except Unavailable as error:
            if NO_LUA in str(error):
                raise AssertionError(f"the copy is no program: {error!r}") from error
            return Failure(case, f"{error!r:.200}")
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - any failure is red
            return Failure(case, f"{error!r:.200}")
        finally:
            harness.close()
            shutil.rmtree(store)
    return None
