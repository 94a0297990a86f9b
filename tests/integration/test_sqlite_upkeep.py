"""What keeps a SQLite file small: the log, long specs, and what a forgotten job leaves behind."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType

import apsw
import msgspec
import pytest

from penstock.broker import requests as r
from penstock.brokers.sqlite import SqliteBroker
from penstock.brokers.sqlite.connection import LOG_BYTES_MAX, connect
from penstock.brokers.sqlite.snapshot import _IDLE_MAX, Reader
from penstock.core.ids import JobId
from penstock.core.job import ATTEMPTS_KEPT, Charges, Parent, Reason, StoredError
from penstock.core.lifecycle import State
from penstock.core.settlement import Bury, Complete, Retry
from tests.support.sqlite_actor import QUEUE, Actor, completions
from tests.support.sqlite_file import check_whole, job_ids, look

#: Bytes of a payload that is kept apart from its row.
LONG = 200_000
#: Tables that hold what belongs to one job.
OF_A_JOB = ("job", "long_spec", "attempt", "note", "log", "edge")


def put_long(actor: Actor, size: int = LONG) -> JobId:
    """Enqueue one job with a payload of `size` bytes and some."""
    request = actor.request()
    payload = msgspec.Raw(b'{"text":"%s"}' % (b"y" * size))
    spec = msgspec.structs.replace(request.spec, payload=payload)
    (answer,) = actor.broker.enqueue([msgspec.structs.replace(request, spec=spec)])
    assert isinstance(answer, r.Accepted)
    return answer.id


def log_bytes(path: Path) -> int:
    """Return the size of the write-ahead log."""
    return path.with_name(path.name + "-wal").stat().st_size


def test_the_log_stays_bounded_without_readers(tmp_path: Path) -> None:
    """SQLite moves the log into the file by itself, long before it is large."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    for _ in range(3 * LOG_BYTES_MAX // LONG):
        put_long(actor)
    assert log_bytes(path) < LOG_BYTES_MAX


def test_prune_moves_the_log_before_a_commit_has_to(tmp_path: Path) -> None:
    """After prune the file itself holds every job, though SQLite saw no need to move the log."""
    path, alone = tmp_path / "jobs.db", tmp_path / "alone.db"
    actor = Actor(path)
    put = {put_long(actor) for _ in range(2 * 2**20 // LONG)}
    assert path.stat().st_size < LONG
    actor.broker.prune([QUEUE], (), limit=1)
    shutil.copy(path, alone)
    assert job_ids(alone) == put


def test_a_log_that_a_reader_let_grow_is_cut_back(tmp_path: Path) -> None:
    """While somebody reads an old state the log must grow; prune empties it afterwards."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    put_long(actor)
    with closing(apsw.Connection(str(path))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM job").fetchall()
        for _ in range(2 * LOG_BYTES_MAX // LONG):
            put_long(actor)
        assert log_bytes(path) > LOG_BYTES_MAX
        # With the reader still there it is given up without harm.
        actor.broker.prune([QUEUE], (), limit=1)
        assert log_bytes(path) > LOG_BYTES_MAX
    actor.broker.prune([QUEUE], (), limit=1)
    assert log_bytes(path) < LOG_BYTES_MAX
    check_whole(path)


def test_a_long_spec_is_written_once(tmp_path: Path) -> None:
    """A claim and a settle of a long job write no more of the log than those of a short one."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    lease = actor.lease()
    job_id = put_long(actor)
    actor.broker.close()
    actor = Actor(path)
    (job,) = actor.broker.claim(actor.claim_request(lease, limit=1)).jobs
    assert job.id == job_id
    assert len(bytes(job.spec.payload)) > LONG
    actor.broker.settle(completions([job]))
    assert log_bytes(path) < LONG / 2
    record = actor.broker.get(job_id)
    assert record is not None
    assert record.spec == job.spec


def test_a_spec_without_its_long_part_is_a_flaw(tmp_path: Path) -> None:
    """A job whose long spec was lost is handed out with a flaw, and the next one is not held up."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    put_long(actor)
    (good,) = actor.put()
    look(path, "DELETE FROM long_spec")
    jobs = actor.broker.claim(actor.claim_request(actor.lease(), limit=2)).jobs
    assert [job.flaw is None for job in jobs] == [False, True]
    assert jobs[1].id == good


def test_charges_that_cannot_be_read_are_a_flaw(tmp_path: Path) -> None:
    """A job whose charges are garbage is handed out with a flaw, and stops nobody behind it."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    garbage = (b"", b"\xff\xfe", b'{"errors":', b"[]", b'{"errors":"many"}')
    poisoned = actor.put(len(garbage))
    (good,) = actor.put()
    with closing(apsw.Connection(str(path))) as connection:
        for job_id, charges in zip(poisoned, garbage, strict=True):
            connection.execute("UPDATE job SET charges = ? WHERE id = ?", (charges, job_id))
    assert actor.broker.get(poisoned[0]) is not None
    jobs = actor.broker.claim(actor.claim_request(actor.lease(), limit=10)).jobs
    assert {job.id for job in jobs if job.flaw is None} == {good}
    assert {job.id for job in jobs if job.flaw and job.spec.task == ""} == set(poisoned)
    unreadable = Reason.BAD_PAYLOAD
    buried = [Bury(id=j.id, fence=j.fence, outcome="failed", reason=unreadable) for j in jobs]
    assert set(actor.broker.settle(buried)) == {"applied"}
    assert look(path, "SELECT COUNT(*) FROM job WHERE state = 'dead' AND charges IS NULL") == [(6,)]


def test_a_job_requeued_again_and_again_stays_small(tmp_path: Path) -> None:
    """Of the attempts before its last one no more than ATTEMPTS_KEPT are in the file."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    (job_id,) = actor.put()
    lease = actor.lease()
    for _ in range(ATTEMPTS_KEPT + 3):
        (job,) = actor.broker.claim(actor.claim_request(lease, limit=1)).jobs
        actor.broker.settle(completions([job]))
        actor.broker.requeue([job_id])
    assert look(path, "SELECT COUNT(*), MIN(number) FROM attempt") == [(ATTEMPTS_KEPT, 4)]


class InterruptedTurn(threading.Condition):
    """A turn at whose n-th end Ctrl-C is noticed: Python looks for signals after each call."""

    def __init__(self, ends_left: int) -> None:
        super().__init__(threading.Lock())
        self.ends_left = ends_left

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self.ends_left -= 1
        if self.ends_left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("end", [1, 2])
def test_an_interrupted_read_lets_the_file_be_closed(tmp_path: Path, end: int) -> None:
    """Ctrl-C as a read takes its turn, or gives it back, leaves nothing that `close` waits for."""
    path = tmp_path / "jobs.db"
    SqliteBroker.open(path)
    reader = Reader(lambda: connect(str(path), busy_timeout_s=5, reads_only=True), str(path))
    reader._turn = InterruptedTurn(end)
    with pytest.raises(KeyboardInterrupt):
        reader.run(lambda db: db.rows("SELECT 1"))
    reader.pause()
    reader.resume()
    assert reader.run(lambda db: db.rows("SELECT 1")) == [(1,)]


def test_connections_of_a_burst_of_reads_are_closed(tmp_path: Path) -> None:
    """When many threads have read at once, only `_IDLE_MAX` connections stay open."""
    path = tmp_path / "jobs.db"
    reader = Reader(lambda: connect(str(path), busy_timeout_s=5, reads_only=True), str(path))
    SqliteBroker.open(path)
    together = threading.Barrier(3 * _IDLE_MAX)
    with ThreadPoolExecutor(together.parties) as pool:
        for answer in [pool.submit(reader.run, lambda _: together.wait(30)) for _ in range(24)]:
            answer.result(30)
    assert len(reader._idle) == _IDLE_MAX
    reader.pause()
    assert reader._idle == []
    reader.resume()


def test_a_forgotten_job_leaves_nothing(tmp_path: Path) -> None:
    """Delete removes the job from every table, with its attempts, notes, lines and edges."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    broker, lease = actor.broker, actor.lease()
    (parent,) = actor.put()
    request = actor.request()
    payload = msgspec.Raw(b'"%s"' % (b"z" * LONG))
    spec = msgspec.structs.replace(request.spec, payload=payload)
    broker.enqueue([msgspec.structs.replace(request, spec=spec, parents=(Parent(parent),))])
    claim = actor.claim_request(lease, limit=1)
    broker.settle(completions(broker.claim(claim).jobs))
    (job,) = broker.claim(actor.claim_request(lease, limit=1)).jobs
    assert job.id == request.id
    broker.note([r.Note(id=job.id, fence=job.fence, checkpoint=msgspec.Raw(b"1"), log=("line",))])
    error = StoredError("ValueError", "once")
    retry = Retry(
        id=job.id, fence=job.fence, outcome="failed", error=error, delay_ms=0,
        charges=Charges(errors=1),
    )  # fmt: skip
    broker.settle([retry])
    (job,) = broker.claim(actor.claim_request(lease, limit=1)).jobs
    assert job.checkpoint is not None
    broker.settle([Complete(id=job.id, fence=job.fence, outcome="succeeded", result=None)])
    filled = {table: look(path, f"SELECT COUNT(*) FROM {table}")[0][0] for table in OF_A_JOB}  # noqa: S608 - names of this file
    assert all(filled.values()), filled

    broker.delete([job.id, parent])
    left = {table: look(path, f"SELECT COUNT(*) FROM {table}")[0][0] for table in OF_A_JOB}  # noqa: S608 - names of this file
    assert not any(left.values()), left
    check_whole(path)


def test_prune_works_in_bounded_batches(tmp_path: Path) -> None:
    """One call forgets no more than its limit, the oldest first, and keeps the newest."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    lease = actor.lease()
    actor.put(400)
    jobs = actor.broker.claim(actor.claim_request(lease, limit=400)).jobs
    actor.broker.settle(completions(jobs))
    rules = (r.Retention(state=State.COMPLETED, age_ms=0, count_max=100),)
    assert actor.broker.prune([QUEUE], rules, limit=150) == 150
    assert actor.broker.counts()[0].completed == 250
    assert actor.broker.get(jobs[0].id) is None
    assert actor.broker.get(jobs[-1].id) is not None
    check_whole(path)


def test_a_first_attempt_writes_no_table_but_the_jobs(tmp_path: Path) -> None:
    """A job that completes in its first attempt leaves one row, and no mutable record."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    actor.put()
    jobs = actor.broker.claim(actor.claim_request(actor.lease(), limit=1)).jobs
    actor.broker.settle(completions(jobs))
    for table in OF_A_JOB[1:]:
        assert look(path, f"SELECT COUNT(*) FROM {table}") == [(0,)]  # noqa: S608 - names of this file
    assert look(path, "SELECT charges FROM job") == [(None,)]


def test_the_checks_of_the_schema_hold(tmp_path: Path) -> None:
    """A row that no verb could make is refused by the file itself."""
    path = tmp_path / "jobs.db"
    SqliteBroker.open(path)
    (job_id,) = Actor(path).put()
    refused = 0
    wrong = (
        "state = 'running'",
        "state = 'completed'",
        "state = 'unheard of'",
        "state = 'scheduled'",
        "state = 'blocked'",
        "finished_at = 1",
        "lease = 1",
    )
    with closing(apsw.Connection(str(path))) as connection:
        for change in wrong:
            try:
                connection.execute(f"UPDATE job SET {change} WHERE id = '{job_id}'")  # noqa: S608 - text of this file
            except apsw.ConstraintError:
                refused += 1
    assert refused == len(wrong)
