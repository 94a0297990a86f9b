"""Collects the cases of the suite, and runs one on a fresh store."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgspec

from .harness import Capability, Harness
from .scene import Scene

#: Verb -> modules of this package that hold its cases.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "register": ("register",),
    "enqueue": ("enqueue", "enqueue_keys", "enqueue_parents"),
    "claim": ("claim", "claim_order", "claim_lease"),
    "settle": ("settle", "settle_cancels", "settle_usage"),
    "cycle": ("cycle",),
    "open_lease": ("open_lease",),
    "extend": ("extend",),
    "close_leases": ("close_leases",),
    "restate": ("restate",),
    "note": ("note",),
    "promote": ("promote",),
    "expire": ("expire",),
    "prune": ("prune",),
    "cancel": ("cancel",),
    "requeue": ("requeue", "requeue_family"),
    "delete": ("delete",),
    "pause": ("pause",),
    "learn": ("learn",),
    "footprints": ("footprints",),
    "inspection": ("inspection",),
    "list_jobs": ("list_jobs",),
    "counts": ("counts",),
    "listen": ("listen",),
    "close": ("close",),
    "repeat": ("repeat",),
    "reclaim": ("reclaim", "reclaim_grace"),
}

Function = TypeVar("Function", bound=Callable[[Scene], None])


class Case(msgspec.Struct, frozen=True):
    """One sentence of the contract.

    Attributes:
        verb: the verb that it is about.
        name: name of the function that checks it.
        check: raises AssertionError where the broker breaks it.
        needs: capabilities without which it says nothing.
    """

    verb: str
    name: str
    check: Callable[[Scene], None]
    needs: frozenset[Capability] = frozenset()

    def __str__(self) -> str:
        return f"{self.verb}-{self.name}"

    def run(self, harness: Harness) -> None:
        """Check the sentence on a fresh store; counters must equal a recount afterwards."""
        scene = Scene(harness)
        self.check(scene)
        scene.broker = harness.open()
        scene.check_counters()


def requires(*capabilities: Capability) -> Callable[[Function], Function]:
    """Mark a case that says nothing about brokers without these capabilities."""

    def mark(function: Function) -> Function:
        function.__dict__["needs"] = frozenset(capabilities)
        return function

    return mark


def cases(
    capabilities: frozenset[Capability] = frozenset(Capability), *, verb: str | None = None
) -> list[Case]:
    """Return the cases of a broker with these capabilities, of one verb or of all."""
    return [case for case in _all_cases(verb) if case.needs <= capabilities]


def _all_cases(verb: str | None) -> Iterator[Case]:
    for of_verb, names in MODULES.items():
        if verb not in (None, of_verb):
            continue
        for name in names:
            module = importlib.import_module(f"{__package__}.{name}")
            for case_name, function in inspect.getmembers(module, inspect.isfunction):
                if not case_name.startswith("test_") or function.__module__ != module.__name__:
                    continue
                needs = function.__dict__.get("needs", frozenset())
                yield Case(of_verb, case_name.removeprefix("test_"), function, needs)
