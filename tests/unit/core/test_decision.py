"""What follows from each outcome: every rule by name, and laws over all combinations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import msgspec
import pytest

from penstock.core import outcome as o
from penstock.core import settlement as s
from penstock.core.decision import decide
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import ALONE, Charges, Claimed, JobSpec, Reason, StoredError
from penstock.core.lifecycle import TRANSITIONS, State
from penstock.core.need import sized_need
from penstock.core.retry import (
    CRASH_WINDOW_MS,
    UNKNOWN_TASK_SNOOZE_MS,
    UNKNOWN_TASK_SNOOZES_MAX,
    Backoff,
    RetryPolicy,
)
from tests.support.settlement_events import EVENT_OF

ERROR = StoredError("ValueError", "no")
GIB = 2**30
PLAIN = RetryPolicy(retries=2, crashes_max=3, backoff=Backoff(1_000, 60_000, "none"))
"""Waits 1, 2, 4 s, without jitter."""

OUTCOMES: list[o.Outcome] = [
    o.Succeeded(b"1"),
    o.Failed(ERROR),
    o.Failed(ERROR, retryable=False),
    o.RetryAsked(ERROR),
    o.RetryAsked(ERROR, after_ms=7),
    o.SnoozeAsked(9),
    o.Discarded(),
    o.TimedOut(ERROR),
    o.CancelledByRequest(),
    o.Crashed(ERROR, alone=True),
    o.Crashed(ERROR, alone=False),
    o.Lost(ERROR, alone=True),
    o.Lost(ERROR, alone=False),
    o.OutOfMemory(ERROR, GIB),
    o.OutOfMemory(ERROR, GIB, largest_bytes=GIB),
    o.OutOfMemory(ERROR, GIB, largest_bytes=5 * GIB // 4),
    o.OutOfMemory(ERROR, 0, of_gpu=True),
    o.OutOfMemory(ERROR, GIB, largest_bytes=5 * GIB // 4, of_gpu=True),
    o.Interrupted(),
    o.Interrupted(ERROR, bystander=True),
    o.DoesNotFit(ERROR, "alone.m27.over6000"),
    o.TaskUnknown(ERROR),
    o.KeyMissing(ERROR),
    o.PayloadUnreadable(ERROR),
    o.ResultUnwritable(ERROR),
]


def claimed(charges: Charges, retries: int | None = None) -> Claimed:
    """Return a job that was charged before."""
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"), retries=retries)
    return Claimed(
        id=JobId("1" * 32),
        queue="q",
        spec=spec,
        fence=Fence("f" * 32),
        lease=LeaseId("a" * 32),
        claim_number=1,
        claimed_at=0,
        charges=charges,
    )


def settled(
    outcome: o.Outcome, charges: Charges | None = None, *, retries: int | None = None
) -> s.Settlement:
    """Decide under the plain policy."""
    job = claimed(Charges() if charges is None else charges, retries)
    return decide(job, outcome, policy=PLAIN, random_unit=0.5, pid=77)


def combinations() -> Iterator[tuple[o.Outcome, Charges, int | None]]:
    """Yield every outcome with every charge around its limit, and every say of the spec."""
    grid = product(range(4), range(4), (0, UNKNOWN_TASK_SNOOZES_MAX), (False, True), (False, True))
    for errors, crashes, unknown, lost, suspect in grid:
        charges = Charges(
            errors=errors, crashes=crashes, unknown_task=unknown, lost=lost, suspect=suspect
        )
        for outcome, retries in product(OUTCOMES, (None, 0, 5)):
            yield outcome, charges, retries


def test_every_kind_of_outcome_is_tried() -> None:
    """The list of the tests holds each outcome that there is."""
    assert {type(outcome) for outcome in OUTCOMES} == set(o.Outcome.__args__)


def test_success_completes() -> None:
    """The result is kept, and nothing is charged."""
    assert settled(o.Succeeded(b"[1]"), Charges(errors=2)) == s.Complete(
        id=JobId("1" * 32), fence=Fence("f" * 32), outcome="succeeded", pid=77, result=b"[1]"
    )


@pytest.mark.parametrize("outcome", [o.Failed(ERROR), o.TimedOut(ERROR), o.RetryAsked(ERROR)])
def test_an_error_is_charged_and_tried_again(outcome: o.Outcome) -> None:
    """Each error waits longer, until the retries are used up; then the job is dead."""
    waits = []
    for errors in range(PLAIN.retries):
        settlement = settled(outcome, Charges(errors=errors))
        assert isinstance(settlement, s.Retry)
        assert settlement.charges.errors == errors + 1
        waits.append(settlement.delay_ms)
    assert waits == [1_000, 2_000]
    last = settled(outcome, Charges(errors=PLAIN.retries))
    assert isinstance(last, s.Bury)
    assert (last.reason, last.charges.errors) == (Reason.RETRIES_EXHAUSTED, 3)


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_n_retries_are_n_further_runs(retries: int) -> None:
    """The spec's word wins over the task's, and counts runs after the first."""
    charges, runs = Charges(), 0
    while True:
        runs += 1
        settlement = settled(o.Failed(ERROR), charges, retries=retries)
        if isinstance(settlement, s.Bury):
            break
        assert isinstance(settlement, s.Retry)
        charges = settlement.charges
    assert runs == retries + 1


def test_a_wait_that_was_asked_for_is_kept() -> None:
    """Retry(after=...) wins over the backoff, and is charged all the same."""
    settlement = settled(o.RetryAsked(ERROR, after_ms=7), Charges(errors=1))
    assert isinstance(settlement, s.Retry)
    assert (settlement.delay_ms, settlement.charges.errors) == (7, 2)


def test_what_must_not_be_tried_again_is_buried() -> None:
    """A failure that the task calls final, bad bytes and a bad result end the job at once."""
    expected: dict[o.Outcome, Reason] = {
        o.Failed(ERROR, retryable=False): Reason.NOT_RETRYABLE,
        o.PayloadUnreadable(ERROR): Reason.BAD_PAYLOAD,
        o.ResultUnwritable(ERROR): Reason.RESULT_REFUSED,
    }
    for outcome, reason in expected.items():
        settlement = settled(outcome)
        assert isinstance(settlement, s.Bury)
        assert settlement.reason is reason


def test_the_users_words_are_followed() -> None:
    """Snooze waits, Discard and a requested cancel end cancelled, each with its reason."""
    snooze = settled(o.SnoozeAsked(9))
    assert isinstance(snooze, s.Snooze)
    assert snooze.delay_ms == 9
    for outcome, reason in (
        (o.Discarded(), Reason.DISCARDED),
        (o.CancelledByRequest(), Reason.BY_OPERATOR),
    ):
        cancel = settled(outcome)
        assert isinstance(cancel, s.Cancel)
        assert cancel.reason is reason


@pytest.mark.parametrize("outcome", [o.Crashed(ERROR, alone=True), o.Lost(ERROR, alone=True)])
def test_a_crash_alone_is_charged(outcome: o.Outcome) -> None:
    """It is tried again, alone, with a growing wait; the third is poison."""
    waits = []
    for crashes in range(PLAIN.crashes_max - 1):
        settlement = settled(outcome, Charges(crashes=crashes))
        assert isinstance(settlement, s.Retry)
        assert (settlement.charges.crashes, settlement.need) == (crashes + 1, ALONE)
        waits.append(settlement.delay_ms)
    assert waits == [1_000, 2_000]
    last = settled(outcome, Charges(crashes=PLAIN.crashes_max - 1))
    assert isinstance(last, s.Bury)
    assert (last.reason, last.charges.crashes) == (Reason.POISON, 3)


@pytest.mark.parametrize(
    ("later_ms", "buried"), [(CRASH_WINDOW_MS, True), (CRASH_WINDOW_MS + 1, False)]
)
def test_crashes_of_long_ago_count_no_more(later_ms: int, *, buried: bool) -> None:
    """The third crash is poison only within the window of the one before; all stay counted."""
    job = msgspec.structs.replace(
        claimed(Charges(crashes=2, crashed_at=1_000)), claimed_at=1_000 + later_ms
    )
    settlement = decide(job, o.Crashed(ERROR, alone=True), policy=PLAIN, random_unit=0.5)
    assert isinstance(settlement, s.Bury) is buried
    assert isinstance(settlement, s.Bury | s.Retry)
    assert settlement.charges.crashes == 3
    assert settlement.charges.crashes_aged == (0 if buried else 2)


def test_a_crash_among_others_makes_a_suspect() -> None:
    """Nothing is charged; the next attempt runs alone, so that a crash has one culprit."""
    settlement = settled(o.Crashed(ERROR, alone=False), Charges(errors=1))
    assert isinstance(settlement, s.Release)
    assert settlement.charges == Charges(errors=1, suspect=True)
    assert settlement.need == ALONE


def test_a_loss_without_a_witness_marks_then_suspects_then_charges() -> None:
    """The first loss marks, the second makes a suspect, the third was alone and is charged."""
    first = settled(o.Lost(ERROR, alone=False))
    assert isinstance(first, s.Release)
    assert (first.charges, first.need) == (Charges(lost=True), None)
    second = settled(o.Lost(ERROR, alone=False), first.charges)
    assert isinstance(second, s.Release)
    assert (second.charges, second.need) == (Charges(lost=True, suspect=True), ALONE)
    third = settled(o.Lost(ERROR, alone=True), second.charges)
    assert isinstance(third, s.Retry)
    assert third.charges == Charges(crashes=1, crashed_at=0, lost=True, suspect=True)


def test_a_drain_changes_nothing() -> None:
    """What is not the job's doing gives it back as it was."""
    charges = Charges(errors=2, crashes=1, lost=True)
    settlement = settled(o.Interrupted(), charges)
    assert isinstance(settlement, s.Release)
    assert (settlement.charges, settlement.need) == (charges, None)


def test_a_kill_for_memory_within_the_limit_marks_the_job() -> None:
    """It goes back at once and uncharged; the mark tells the worker that it is no second time."""
    settlement = settled(o.Interrupted(ERROR, bystander=True), Charges(errors=2))
    assert isinstance(settlement, s.Release)
    assert settlement.charges == Charges(errors=2, bystander=True)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(o.TaskUnknown(ERROR), Reason.UNKNOWN_TASK), (o.KeyMissing(ERROR), Reason.KEY_MISSING)],
    ids=["unknown task", "missing key"],
)
def test_a_job_waits_for_a_worker_that_can_run_it(outcome: o.Unsuccessful, reason: Reason) -> None:
    """It is snoozed ten times for half a minute, and then dead; no error is charged."""
    for seen in range(UNKNOWN_TASK_SNOOZES_MAX):
        settlement = settled(outcome, Charges(unknown_task=seen))
        assert isinstance(settlement, s.Snooze)
        assert settlement.delay_ms == UNKNOWN_TASK_SNOOZE_MS
        assert settlement.charges == Charges(unknown_task=seen + 1)
    last = settled(outcome, Charges(unknown_task=UNKNOWN_TASK_SNOOZES_MAX))
    assert isinstance(last, s.Bury)
    assert last.reason is reason


def test_every_settlement_is_of_its_job_and_attempt() -> None:
    """Whatever is decided carries the job, the fence, the process, the outcome and the error."""
    for outcome, charges, retries in combinations():
        settlement = settled(outcome, charges, retries=retries)
        assert (settlement.id, settlement.fence) == (JobId("1" * 32), Fence("f" * 32))
        assert settlement.pid == 77
        assert settlement.outcome == o.outcome_name(outcome)
        assert settlement.error == getattr(outcome, "error", None)


def test_every_settlement_is_a_way_out_of_running() -> None:
    """Whatever is decided, the lifecycle table knows it."""
    for outcome, charges, retries in combinations():
        event = EVENT_OF[type(settled(outcome, charges, retries=retries))]
        assert (State.RUNNING, event) in TRANSITIONS


def test_charges_only_rise_and_only_for_what_was_done() -> None:
    """Each outcome charges its own counter by one, and no other."""
    errors = (o.Failed, o.TimedOut, o.RetryAsked, o.ResultUnwritable)
    for outcome, before, retries in combinations():
        settlement = settled(outcome, before, retries=retries)
        if isinstance(settlement, s.Complete):
            continue
        after = settlement.charges
        is_crash = isinstance(outcome, o.Crashed | o.Lost) and outcome.alone
        had_none = outcome == o.OutOfMemory(ERROR, 0, of_gpu=True)
        assert after.errors - before.errors == (isinstance(outcome, errors) or had_none)
        assert after.crashes - before.crashes == is_crash
        assert after.ooms - before.ooms == (isinstance(outcome, o.OutOfMemory) and not had_none)
        assert (after.lost, after.suspect) >= (before.lost, before.suspect)
        assert after.bystander == (outcome == o.Interrupted(ERROR, bystander=True))


def test_a_suspect_always_goes_alone() -> None:
    """Whoever goes on enters the set of those who run alone if, and only if, it is a suspect."""
    for outcome, charges, retries in combinations():
        settlement = settled(outcome, charges, retries=retries)
        if isinstance(outcome, o.DoesNotFit | o.OutOfMemory):
            continue
        if isinstance(settlement, s.Retry | s.Snooze | s.Release):
            assert settlement.need == (ALONE if settlement.charges.suspect else None)


def test_a_suspect_that_is_isolated_anyhow_keeps_its_set() -> None:
    """The name of its set tells what it takes, which it takes as a suspect as well."""
    job = claimed(Charges())
    spec = msgspec.structs.replace(job.spec, need="alone.m9")
    job = msgspec.structs.replace(job, spec=spec)
    settlement = decide(job, o.Crashed(ERROR, alone=True), policy=PLAIN, random_unit=0.5)
    assert isinstance(settlement, s.Retry)
    assert settlement.charges.suspect
    assert settlement.need is None


def test_out_of_memory_grows_and_gives_up() -> None:
    """x1.5 and x2.25 of the first reservation, at once; then it is dead. No error is charged."""
    charges, reserved = Charges(), 1_000
    for expected in (1_500, 2_250):
        settlement = settled(o.OutOfMemory(ERROR, reserved), charges)
        assert isinstance(settlement, s.Retry)
        assert (settlement.delay_ms, settlement.charges.memory_bytes) == (0, expected)
        assert settlement.need == sized_need(expected)
        charges, reserved = settlement.charges, expected
    last = settled(o.OutOfMemory(ERROR, reserved), charges)
    assert isinstance(last, s.Bury)
    assert (last.reason, last.charges.ooms, last.charges.errors) == (Reason.OUT_OF_MEMORY, 3, 0)


def test_no_reservation_grows_past_the_largest_worker() -> None:
    """It is cut to that worker's budget; an attempt that had it all is the last one."""
    cut = settled(o.OutOfMemory(ERROR, 1_000, largest_bytes=1_200))
    assert isinstance(cut, s.Retry)
    assert cut.charges.memory_bytes == 1_200
    last = settled(o.OutOfMemory(ERROR, 1_200, largest_bytes=1_200), cut.charges)
    assert isinstance(last, s.Bury)
    assert last.reason is Reason.TOO_LARGE


def test_out_of_a_gpus_memory_grows_that_and_keeps_the_rest() -> None:
    """Its part of a device, to the largest device; who had no part is charged an error."""
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"), need="takes.c2000.v4096:alone.m19")
    job = msgspec.structs.replace(claimed(Charges()), spec=spec)
    ran_out = o.OutOfMemory(ERROR, 4 * GIB, largest_bytes=24 * GIB, of_gpu=True)
    found = decide(job, ran_out, policy=PLAIN, random_unit=0.0)
    assert isinstance(found, s.Retry)
    assert found.charges == Charges(ooms=1, gpu_memory_bytes=6 * GIB)
    assert (found.need, found.delay_ms) == ("takes.c2000.v6144:alone.m19", 0)
    later = msgspec.structs.replace(job, charges=Charges(gpu_memory_bytes=24 * GIB))
    whole = o.OutOfMemory(ERROR, 24 * GIB, largest_bytes=24 * GIB, of_gpu=True)
    # The first time others may have been there too: it is tried again with all of a device.
    again = decide(later, whole, policy=PLAIN, random_unit=0.0)
    assert isinstance(again, s.Retry)
    assert again.charges == Charges(ooms=1, gpu_memory_bytes=24 * GIB)
    later = msgspec.structs.replace(job, charges=again.charges)
    dead = decide(later, whole, policy=PLAIN, random_unit=0.0)
    assert isinstance(dead, s.Bury)
    assert dead.reason is Reason.TOO_LARGE
    crashed = decide(later, o.OutOfMemory(ERROR, GIB), policy=PLAIN, random_unit=0.0)
    assert isinstance(crashed, s.Retry)
    assert crashed.need == f"takes.c2000.v24576:{sized_need(round(1.5 * GIB))}"
    charged = settled(o.OutOfMemory(ERROR, 0, of_gpu=True))
    assert isinstance(charged, s.Retry)
    assert charged.charges == Charges(errors=1)


def test_what_does_not_fit_goes_where_it_does() -> None:
    """It is released into the set that was named, and nothing is charged."""
    settlement = settled(o.DoesNotFit(ERROR, "alone.m3"), Charges(errors=1))
    assert isinstance(settlement, s.Release)
    assert (settlement.need, settlement.charges) == ("alone.m3", Charges(errors=1))


def test_jitter_is_drawn_by_the_caller() -> None:
    """The same number gives the same wait: nothing here draws one."""
    policy = RetryPolicy(backoff=Backoff(1_000, 60_000, "full"))
    job = claimed(Charges())
    waits = [
        getattr(decide(job, o.Failed(ERROR), policy=policy, random_unit=unit), "delay_ms", None)
        for unit in (0.0, 0.25, 0.25)
    ]
    assert waits == [0, 250, 250]
