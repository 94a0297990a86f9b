"""Every guard of every verb is needed: without it the verb's own cases turn red.

With PROOF=1 in the environment (make proof) the whole suite runs on each mutant, and how many cases
see it is printed (`pytest -rP` shows it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from penstock.brokers import memory, sqlite
from penstock.core.lifecycle import TRANSITIONS, State
from penstock.testing.conformance import MODULES, Case, cases
from tests.conformance.guards import Guard, Mutant, guards_of, mutants_of
from tests.conformance.harnesses import MemoryHarness, SqliteHarness
from tests.conformance.mutant import MakeHarness, first_failure, imported_copy

#: Adapter -> (its package, how to make a harness from a copy of it).
ADAPTERS: Final[dict[str, tuple[Path, MakeHarness]]] = {
    "memory": (Path(memory.__file__).parent, MemoryHarness),
    "sqlite": (Path(sqlite.__file__).parent, SqliteHarness),
}

#: Whether to count every case that sees a mutant, which takes minutes.
IS_PROOF: Final = bool(os.environ.get("PROOF"))

#: File that serves several verbs -> the verbs whose cases must see its guards.
SHARED_FILES: Final = {
    "attempt": ("claim", "settle"),
    "family": ("settle", "expire", "requeue"),
    "forget": ("prune", "delete"),
    "lease": ("claim", "open_lease", "extend", "close_leases", "reclaim"),
    "sleeper": ("listen",),
    "wakeup": ("listen",),
}

#: Verb that writes -> the file that may hold it instead of one of its own name.
WRITING: Final = {
    "register": None,
    "enqueue": None,
    "claim": None,
    "settle": None,
    "open_lease": "lease",
    "extend": "lease",
    "close_leases": "lease",
    "note": None,
    "promote": None,
    "expire": None,
    "reclaim": None,
    "prune": None,
    "cancel": None,
    "requeue": None,
    "delete": None,
    "pause": None,
}

_TRANSITION = re.compile(
    r"^(?:--)? +(?P<start>\(none\)|\w+) --(?P<event>\w+)--> (?P<to>\(none\)|\w+)$"
)


def stem(file: str) -> str:
    """Return the name of a file without folder and ending."""
    return Path(file).stem


def all_mutants() -> Iterator[tuple[str, Mutant]]:
    """Yield (adapter, mutant) for each guard of each adapter."""
    for adapter, (package, _) in ADAPTERS.items():
        for guard in guards_of(package):
            for mutant in mutants_of(package, guard):
                yield adapter, mutant


def cases_of(guard: Guard) -> list[Case]:
    """Return the cases that must turn red without `guard`: those of its verb or verbs."""
    name = stem(guard.file)
    verbs = SHARED_FILES.get(name, (name,))
    unknown = set(verbs) - set(MODULES)
    assert not unknown, f"{guard}: name the verbs of this file in SHARED_FILES: {unknown}"
    return [case for verb in verbs for case in cases(verb=verb)]


@pytest.mark.parametrize(
    ("adapter", "mutant"),
    list(all_mutants()),
    ids=lambda value: f"{value.guard}: {value.how}" if isinstance(value, Mutant) else value,
)
def test_without_a_guard_the_suite_is_red(adapter: str, mutant: Mutant, tmp_path: Path) -> None:
    """A guard that is taken out makes a case of its verb fail."""
    package, make = ADAPTERS[adapter]
    with imported_copy(package, tmp_path, mutant) as module:
        failure = first_failure(module, make, cases_of(mutant.guard), tmp_path)
        assert failure is not None, f"{mutant.guard}: {mutant.how}, and every case passes"
        if IS_PROOF:
            alone = [[case] for case in cases()]
            red = [case for case in alone if first_failure(module, make, case, tmp_path)]
            print(f"{adapter} {mutant.guard}: {len(red)} cases are red")  # noqa: T201 - the report


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_with_all_guards_the_suite_is_green(adapter: str, tmp_path: Path) -> None:
    """A copy from which nothing was taken passes, so that red means the guard and not the copy."""
    package, make = ADAPTERS[adapter]
    suite = [case for verb in ("claim", "settle", "listen") for case in cases(verb=verb)]
    with imported_copy(package, tmp_path, None) as module:
        assert first_failure(module, make, suite, tmp_path) is None


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_verb_that_writes_has_a_guard(adapter: str) -> None:
    """A verb without a marked guard would write whatever it is told."""
    guarded = {stem(guard.file) for guard in guards_of(ADAPTERS[adapter][0])}
    missing = {
        verb for verb, shared in WRITING.items() if verb not in guarded and shared not in guarded
    }
    assert not missing, f"mark a guard of {adapter} in: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_verbs_make_the_transitions_of_the_table(adapter: str) -> None:
    """What the headers of an adapter's verbs declare is, together, the lifecycle table.

    A header is the docstring of VERB.py or the comment at the top of VERB.sql: a line
    `transitions:`, and below it, indented by four, `state --event--> state` for each transition
    that the verb makes, `(none)` for no record; or `transitions: none.` for a verb that makes none.
    """
    package = ADAPTERS[adapter][0]
    declared = {
        (found["start"], found["event"], found["to"])
        for path in [*package.rglob("*.py"), *package.rglob("*.sql")]
        for line in path.read_text().splitlines()
        if (found := _TRANSITION.match(line)) is not None
    }
    table = {
        (start or "(none)", event, to or "(none)")
        for (start, event), ends in TRANSITIONS.items()
        for to in ends
    }
    assert declared == table


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_verb_declares_its_transitions(adapter: str) -> None:
    """Each verb's file says which transitions it makes, if only that it makes none."""
    package = ADAPTERS[adapter][0]
    for verb, shared in WRITING.items():
        path = package / f"{verb}.py"
        text = (path if path.exists() else package / f"{shared}.py").read_text()
        assert "transitions:" in text, verb
        for line in text.splitlines():
            found = _TRANSITION.match(line)
            states = {found["start"], found["to"]} - {"(none)"} if found else set()
            assert states <= set(State), f"{verb}: {line}"
