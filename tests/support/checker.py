"""The invariants I1-I10 and I12 over a history and a full dump, as pure functions.

I11 (one tick of a schedule, one job) comes with schedules. Each invariant is a function from
(ledger, dump) to its violations; `check` runs them all. Words: an attempt is *excused* if a fault
hit the process it ran in. An attempt that was lost without an excuse is a defect by itself, even
if the job completed in the end.
Source: the list is this project's reliability plan; the split of history and checker is Jepsen's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from tests.support import attempt_invariants as attempts
from tests.support import store_invariants as store
from tests.support.dump import Dump
from tests.support.history import Event
from tests.support.ledger import Ledger, keep_ledger
from tests.support.violation import Violation

Invariant = Callable[[Ledger, Dump], Iterator[Violation]]

#: Name -> rule, in the order of the report.
INVARIANTS: dict[str, Invariant] = {
    "I1": store.accepted_jobs_end,
    "I2": attempts.completed_jobs_ran,
    "I3": attempts.starts_are_accounted_for,
    "I4": attempts.writes_belong_to_their_attempt,
    "I5": attempts.attempts_do_not_overlap,
    "I6": store.every_job_is_in_one_place,
    "I7": store.counters_are_true,
    "I8": store.failed_enqueues_do_not_run,
    "I9": store.keys_name_one_job,
    "I10": attempts.cancelled_jobs_stay_cancelled,
    "I12": store.nothing_is_left_behind,
}

#: Violations printed in one failure; the first few tell the story, thousands hide it.
PRINTED_MAX = 25


def check(events: Sequence[Event], dump: Dump) -> list[Violation]:
    """Return every violation, by invariant, then by job."""
    ledger = keep_ledger(events)
    return [
        msgspec.structs.replace(violation, invariant=name)
        for name, rule in INVARIANTS.items()
        for violation in rule(ledger, dump)
    ]


def assert_holds(events: Sequence[Event], dump: Dump, *, context: object = "") -> None:
    """Fail with job, invariant and evidence of each violation, and `context`, such as a seed."""
    violations = check(events, dump)
    assert not violations, report(violations, context)


def report(violations: Iterable[Violation], context: object = "") -> str:
    """Return the violations as text, one a line."""
    lines = [str(violation) for violation in violations]
    hidden = len(lines) - PRINTED_MAX
    shown = lines[:PRINTED_MAX] + ([f"... and {hidden} more"] if hidden > 0 else [])
    return "\n".join([f"{len(lines)} violations {context}", *shown])
