"""Lone jobs that cannot be begun: whatever stands in the way, each is settled and none is lost."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from penstock.brokers.memory import MemoryBroker
from penstock.core.ids import JobId
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from penstock.core.secret import KEY_BYTES, SecretKeys, key_text
from penstock.serializers.sealing import Seal
from penstock.testing.clock import ManualClock
from penstock.worker.supervisor.child_process import ChildProcess
from penstock.worker.supervisor.crew import Crew
from tests.support.children_bench import ChildrenBench

KEY = b"k" * KEY_BYTES
#: What opening a box imports.
LIBRARY = ("cryptography", "cryptography.exceptions", "cryptography.hazmat.primitives.ciphers.aead")


def first_end(
    folder: Path,
    payload: bytes,
    prepare: Callable[[ChildrenBench], None] = lambda _: None,
    until: Callable[[ChildrenBench, JobId], object] | None = None,
) -> JobRecord:
    """Claim one lone job; return its record after its first attempt.

    Args:
        folder: of the test.
        payload: of the job.
        prepare: spoils the first attempt.
        until: what is waited for, so that nothing is just beginning at the end; None: `has_ended`.
    """
    is_still = until or has_ended

    async def main() -> JobRecord:
        async with asyncio.TaskGroup() as group:
            crew = Crew(group)
            bench = ChildrenBench(folder, crew, MemoryBroker(clock := ManualClock()), clock)
            prepare(bench)
            await bench.open_lease()
            job = bench.enqueue_lone(payload)
            crew.keep("claims", bench.children.run)
            await bench.until(lambda: is_still(bench, job))
            record = bench.record(job)
            await bench.close(crew)
            return record

    return asyncio.run(main())


def has_ended(bench: ChildrenBench, job: JobId) -> bool:
    """Return whether the first attempt of a job is settled."""
    attempts = bench.record(job).attempts
    return bool(attempts) and attempts[0].outcome is not None


def has_completed(bench: ChildrenBench, job: JobId) -> bool:
    """Return whether a later attempt found everything as usual."""
    return bench.record(job).state is State.COMPLETED


def runs_again(bench: ChildrenBench, job: JobId) -> bool:
    """Return whether the second attempt of a job runs in its child."""
    attempt = bench.children.attempts.get(job)
    return attempt is not None and attempt.job.claim_number == 2 and attempt.child is not None


def fail(*_: object, **__: object) -> NoReturn:
    """Fail in a way that nobody foresaw."""
    raise RuntimeError("nobody foresaw this")


def test_a_missing_library_is_as_a_missing_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without the optional library puts a job with secrets back, and says what to do."""
    sealed = Seal(SecretKeys([("k", KEY)])).seal(b"{}", b'{"name":"x"}', JobId("0" * 32), "t")
    monkeypatch.setenv("PENSTOCK_SECRET_KEYS", key_text("k", KEY))
    for module in LIBRARY:
        monkeypatch.setitem(sys.modules, module, None)
    record = first_end(tmp_path, sealed)
    assert (record.state, record.attempts[0].outcome) == (State.SCHEDULED, "key_missing"), record
    assert "penstock[encryption]" in str(record.attempts[0].error), record


def test_a_box_that_fails_to_open_in_an_unforeseen_way_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job has an end as it would have in a runner, and the log says why."""
    caplog.set_level("INFO", "penstock.worker")
    monkeypatch.setattr(Seal, "opened", fail)
    told = "payload_unreadable -> bury: RuntimeError: nobody foresaw this"
    # The log is written after the record.
    record = first_end(tmp_path, b"{}", until=lambda *_: told in caplog.text)
    assert (record.state, record.attempts[0].outcome) == (State.DEAD, "payload_unreadable"), record


def without_child(bench: ChildrenBench) -> None:
    """Let the first look for an idle child fail."""
    pick = bench.pool.pick

    def fail_once(*_: object) -> NoReturn:
        bench.pool.pick = pick  # type: ignore[method-assign]
        fail()

    bench.pool.pick = fail_once  # type: ignore[method-assign]


def without_new_child(bench: ChildrenBench) -> None:
    """Let the first idle child be gone once there is a job for it, and none be made."""
    pick, make = bench.pool.pick, bench.pool.make

    def fail_once(*_: object) -> NoReturn:
        bench.pool.make = make  # type: ignore[method-assign]
        fail()

    def pick_none(*_: object) -> None:
        bench.pool.pick = pick  # type: ignore[method-assign]
        bench.pool.make = fail_once  # type: ignore[method-assign]

    bench.pool.pick = pick_none  # type: ignore[method-assign]


@pytest.mark.parametrize("prepare", [without_child, without_new_child])
def test_a_job_that_cannot_be_begun_goes_back(
    tmp_path: Path, prepare: Callable[[ChildrenBench], None]
) -> None:
    """An error that nobody foresaw interrupts the attempt; it does not leave it running."""
    record = first_end(tmp_path, b"{}", prepare, has_completed)
    assert record.attempts[0].outcome == "interrupted", record
    assert "nobody foresaw this" in str(record.attempts[0].error), record


def test_a_child_that_may_have_begun_is_killed_before_its_job_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that fails half way leaves no child behind that runs the job beside the next."""
    children, begin = [], ChildProcess.begin

    def begin_badly(self: ChildProcess, *given: object, **options: object) -> None:
        children.append(self)
        begin(self, *given, **options)  # type: ignore[arg-type]
        if len(children) == 1:
            fail()

    monkeypatch.setattr(ChildProcess, "begin", begin_badly)
    record = first_end(tmp_path, b'{"seconds":600.0}', until=runs_again)
    assert record.attempts[0].outcome == "interrupted", record
    assert children[0].process.exited.done(), record
