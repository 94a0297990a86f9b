"""Every guard of every verb is needed: without it the verb's own cases turn red.

In `make proof` the whole suite runs on each mutant, those of PostgreSQL among them; guards.json
says how many cases see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from penstock.brokers import memory, postgres, redis, sqlite
from penstock.core.lifecycle import TRANSITIONS, State
from penstock.testing.conformance import MODULES, Case, cases
from tests.conformance.guards import Guard, Mutant, guards_of, mutants_of
from tests.conformance.harnesses import (
    MemoryHarness,
    PostgresHarness,
    RedisHarness,
    SqliteHarness,
)
from tests.conformance.mutant import MakeHarness, first_failure, imported_copy
from tests.support.engine_proof import proof_folder, publish
from tests.support.redis_server import redis_in_memory

#: Adapter -> its package.
ADAPTERS: Final[dict[str, Path]] = {
    name: Path(str(module.__file__)).parent
    for name, module in (
        ("memory", memory),
        ("sqlite", sqlite),
        ("redis", redis),
        ("postgres", postgres),
    )
}

#: Adapter -> what its store can do.
CAPABILITIES: Final = {
    "memory": MemoryHarness.capabilities,
    "sqlite": SqliteHarness.capabilities,
    "redis": RedisHarness.capabilities,
    "postgres": PostgresHarness.capabilities,
}

#: Whether to count every case that sees a mutant, which takes minutes.
IS_PROOF: Final = proof_folder() is not None

#: Adapters whose guards are taken out in `make proof` only: a database for each mutant takes as
#: long as all others together, and the cases that must see it are the same.
IN_PROOF_ONLY: Final = frozenset() if IS_PROOF else frozenset({"postgres"})

#: File that serves several verbs -> the verbs whose cases must see its guards.
SHARED_FILES: Final = {
    "attempt": ("claim", "settle"),
    "family": ("settle", "expire", "requeue"),
    "forget": ("prune", "delete"),
    "lease": ("claim", "open_lease", "extend", "close_leases", "restate", "reclaim"),
    "hold": ("claim", "reclaim"),
    "sleeper": ("listen",),
    "sleepers": ("listen",),
    "special": ("enqueue",),
    "walk": ("claim",),
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
    "restate": "lease",
    "note": None,
    "promote": None,
    "expire": None,
    "reclaim": None,
    "prune": None,
    "cancel": None,
    "requeue": None,
    "delete": None,
    "pause": None,
    "learn": None,
}

#: Verbs that add what they are told, whatever was there: they have no condition to be taken out.
ADDING: Final = frozenset({"learn"})

_TRANSITION = re.compile(
    r"^(?:--)? +(?P<start>\(none\)|\w+) --(?P<event>\w+)--> (?P<to>\(none\)|\w+)$"
)


def stem(file: str) -> str:
    """Return the name of a file without folder and ending."""
    return Path(file).stem


def _files_of(package: Path, verb: str) -> list[Path]:
    """Return the files of a verb that may hold its header."""
    return [*package.glob(f"{verb}.py"), *package.glob(f"lua/{verb}.lua")]


def all_mutants() -> Iterator[tuple[str, Mutant]]:
    """Yield (adapter, mutant) for each guard of each adapter."""
    for adapter, package in ADAPTERS.items():
        for guard in () if adapter in IN_PROOF_ONLY else guards_of(package):
            for mutant in mutants_of(package, guard):
                yield adapter, mutant


def cases_of(adapter: str, guard: Guard) -> list[Case]:
    """Return the cases that must turn red without `guard`: those of its verb or verbs."""
    name = stem(guard.file)
    verbs = SHARED_FILES.get(name, (name,))
    unknown = set(verbs) - set(MODULES)
    assert not unknown, f"{guard}: name the verbs of this file in SHARED_FILES: {unknown}"
    return [case for verb in verbs for case in cases(CAPABILITIES[adapter], verb=verb)]


@pytest.fixture(scope="module")
def makers() -> Iterator[dict[str, MakeHarness]]:
    """How to make a harness from a copy of each adapter."""
    with redis_in_memory() as server:
        yield {
            "memory": MemoryHarness,
            "sqlite": SqliteHarness,
            "redis": lambda _folder, package: RedisHarness(server, package),
            "postgres": PostgresHarness,
        }


@pytest.fixture(scope="module")
def hints() -> dict[str, str]:
    """Guard -> the case that saw it missing last: on another adapter, or taken out otherwise."""
    return {}


@pytest.fixture(scope="module")
def seen() -> Iterator[list[dict[str, object]]]:
    """How many cases see each mutant; kept with the proof when all have been tried."""
    rows: list[dict[str, object]] = []
    yield rows
    publish("guards", rows, proof_folder())


# On a mutant that wakes nobody the cases of `listen` wait for their deadlines, one after the other.
@pytest.mark.timeout(900 if IS_PROOF else 120)
@pytest.mark.parametrize(
    ("adapter", "mutant"),
    list(all_mutants()),
    ids=lambda value: f"{value.guard}: {value.how}" if isinstance(value, Mutant) else value,
)
def test_without_a_guard_the_suite_is_red(
    adapter: str,
    mutant: Mutant,
    makers: dict[str, MakeHarness],
    hints: dict[str, str],
    seen: list[dict[str, object]],
    tmp_path: Path,
) -> None:
    """A guard that is taken out makes a case of its verb fail.

    The likely case is tried first, and all the others where it passes.
    """
    package, make = ADAPTERS[adapter], makers[adapter]
    with imported_copy(package, tmp_path, mutant) as module:
        hint = hints.get(mutant.guard.name)
        suite = sorted(cases_of(adapter, mutant.guard), key=lambda case: str(case) != hint)
        failure = first_failure(module, make, suite, tmp_path)
        assert failure is not None, f"{mutant.guard}: {mutant.how}, and every case passes"
        hints[mutant.guard.name] = str(failure.case)
        if IS_PROOF:
            alone = [[case] for case in cases(CAPABILITIES[adapter])]
            red = [case for case in alone if first_failure(module, make, case, tmp_path)]
            guard = {
                "file": mutant.guard.file,
                "line": mutant.guard.line,
                "name": mutant.guard.name,
            }
            told = {"guard": guard, "without": mutant.how, "red": len(red), "cases": len(alone)}
            seen.append({"adapter": adapter, **told})


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_with_all_guards_the_suite_is_green(
    adapter: str, makers: dict[str, MakeHarness], tmp_path: Path
) -> None:
    """A copy from which nothing was taken passes, so that red means the guard and not the copy."""
    package, make = ADAPTERS[adapter], makers[adapter]
    verbs = ("claim", "settle", "listen")
    suite = [case for verb in verbs for case in cases(CAPABILITIES[adapter], verb=verb)]
    with imported_copy(package, tmp_path, None) as module:
        assert first_failure(module, make, suite, tmp_path) is None


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_verb_that_writes_has_a_guard(adapter: str) -> None:
    """A verb without a marked guard would write whatever it is told."""
    guarded = {stem(guard.file) for guard in guards_of(ADAPTERS[adapter])}
    missing = {
        verb
        for verb, shared in WRITING.items()
        if verb not in guarded and shared not in guarded and verb not in ADDING
    }
    assert not missing, f"mark a guard of {adapter} in: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_verbs_make_the_transitions_of_the_table(adapter: str) -> None:
    """What the headers of an adapter's verbs declare is, together, the lifecycle table.

    A header is the docstring of VERB.py or the comment at the top of VERB.sql: a line
    `transitions:`, and below it, indented by four, `state --event--> state` for each transition
    that the verb makes, `(none)` for no record; or `transitions: none.` for a verb that makes none.
    """
    package = ADAPTERS[adapter]
    declared = {
        (found["start"], found["event"], found["to"])
        for path in [p for end in ("py", "sql", "lua") for p in package.rglob(f"*.{end}")]
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
    package = ADAPTERS[adapter]
    for verb, shared in WRITING.items():
        found_files = _files_of(package, verb) or _files_of(package, str(shared))
        text = "\n".join(path.read_text() for path in found_files)
        assert "transitions:" in text, verb
        for line in text.splitlines():
            found = _TRANSITION.match(line)
            states = {found["start"], found["to"]} - {"(none)"} if found else set()
            assert states <= set(State), f"{verb}: {line}"
