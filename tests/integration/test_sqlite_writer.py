"""Group commit: who waits together commits together, and one refusal harms nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import apsw
import pytest

from penstock.brokers.sqlite.connection import connect
from penstock.brokers.sqlite.transaction import Transaction
from penstock.brokers.sqlite.writer import Writer
from penstock.errors import Unavailable, UsageError
from penstock.testing import ManualClock
from tests.support.eventually import eventually
from tests.support.sqlite_file import look

#: Callers that line up behind one that is inside its transaction.
CALLERS = 8


class Bench:
    """A writer on a file with one table, which counts its commits.

    Attributes:
        commits: how many transactions were committed, rows or not.
        classes: the value of PRAGMA synchronous in each operation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits = 0
        self.classes: list[int] = []
        self.pool = ThreadPoolExecutor(CALLERS + 1)
        self.writer = Writer(self._connect, str(path), ManualClock())
        self._connect().close()

    def _connect(self) -> apsw.Connection:
        connection = connect(str(self.path), busy_timeout_s=1, creates=True)
        connection.execute("PRAGMA journal_mode = wal").fetchall()
        connection.execute("CREATE TABLE IF NOT EXISTS item (name TEXT CHECK (name <> 'bad'))")
        connection.set_commit_hook(self._count)
        return connection

    def _count(self) -> bool:
        self.commits += 1
        return False

    def put(self, name: str, *, fsync: bool = False) -> None:
        """Store one item."""

        def work(tx: Transaction) -> None:
            self.classes.append(tx.rows("PRAGMA synchronous")[0][0])
            tx.rows("INSERT INTO item VALUES (?1)", (name,))

        self.writer.run(work, fsync=fsync)

    def items(self) -> set[str]:
        """Return the stored items."""
        return {str(name) for (name,) in look(self.path, "SELECT name FROM item")}

    def line_up(self, *calls: Callable[[], object]) -> list[Future[object]]:
        """Let `calls` wait behind a transaction in progress; return when all have been through."""
        inside, go_on = threading.Event(), threading.Event()

        def block(_: Transaction) -> None:
            inside.set()
            assert go_on.wait(10)

        first = self.pool.submit(self.writer.run, block, fsync=False)
        assert inside.wait(10)
        waiting: list[Future[object]] = []
        for place, call in enumerate(calls, start=1):
            waiting.append(self.pool.submit(call))
            eventually(
                lambda place=place: len(self.writer._line) == 1 + place,  # type: ignore[misc]
                within_s=10,
                what=f"{place} calls in line",
            )
        self.commits = 0
        go_on.set()
        first.result(10)
        for call_future in waiting:
            call_future.exception(10)
        return waiting


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return a writer on a fresh file."""
    made = Bench(tmp_path / "items.db")
    yield made
    made.pool.shutdown()
    made.writer.pause()


def test_a_lone_call_is_one_transaction(bench: Bench) -> None:
    """A caller alone commits for itself."""
    bench.put("one")
    bench.commits = 0
    bench.put("two")
    assert bench.commits == 1
    assert bench.items() == {"one", "two"}


def test_callers_in_line_share_one_commit(bench: Bench) -> None:
    """Eight callers that wait for the same transaction are committed by one more."""
    names = [f"item-{number}" for number in range(CALLERS)]
    done = bench.line_up(*(lambda name=name: bench.put(name) for name in names))
    assert [future.exception() for future in done] == [None] * CALLERS
    assert bench.items() == set(names)
    # The transaction that they waited for, which wrote nothing, and theirs.
    assert bench.commits <= 2


def test_a_refusal_undoes_one_operation_alone(bench: Bench) -> None:
    """What an operation wrote before its own rule refused it is gone; its neighbours stay."""

    def refuse(tx: Transaction) -> None:
        tx.rows("INSERT INTO item VALUES ('half done')")
        raise UsageError("against the rule")

    done = bench.line_up(
        lambda: bench.put("before"),
        lambda: bench.writer.run(refuse, fsync=False),
        lambda: bench.put("after"),
    )
    assert [type(future.exception()) for future in done] == [
        type(None), UsageError, type(None),
    ]  # fmt: skip
    assert bench.items() == {"before", "after"}


def test_an_error_of_sqlite_fails_one_operation_alone(bench: Bench) -> None:
    """Where SQLite refuses one of several, each of the others gets a transaction of its own."""
    done = bench.line_up(
        lambda: bench.put("before"), lambda: bench.put("bad"), lambda: bench.put("after")
    )
    assert [type(future.exception()) for future in done] == [
        type(None), Unavailable, type(None),
    ]  # fmt: skip
    assert bench.items() == {"before", "after"}
    assert "nothing was written" in str(done[1].exception())


def test_a_lone_refusal_writes_nothing(bench: Bench) -> None:
    """Alone, too, a refused operation is undone, and the next one works."""
    with pytest.raises(Unavailable):
        bench.put("bad")
    bench.put("good")
    assert bench.items() == {"good"}


def test_the_strictest_class_in_line_wins(bench: Bench) -> None:
    """One caller who wants an fsync gives it to all in its transaction, and to nobody later."""
    done = bench.line_up(lambda: bench.put("local"), lambda: bench.put("fsync", fsync=True))
    assert [future.exception() for future in done] == [None, None]
    bench.put("local again")
    normal, full = 1, 2
    assert bench.classes == [full, full, normal]


def test_an_interrupted_leader_leaves_the_others_in_line(bench: Bench) -> None:
    """Who is interrupted inside its operation writes nothing; who waited behind it is served."""
    for number in range(100):
        done = bench.line_up(
            partial(interrupted, bench, f"first-{number}"),
            lambda number=number: bench.put(f"second-{number}"),  # type: ignore[misc]
            lambda number=number: bench.put(f"third-{number}"),  # type: ignore[misc]
        )
        assert [future.exception() for future in done[1:]] == [None, None]
        assert {f"second-{number}", f"third-{number}"} <= bench.items()
        # Race: nobody promises that who waits longest for a lock has it next, and only who leads is
        # interrupted: what others run is theirs.
        if isinstance(done[0].exception(), KeyboardInterrupt):
            assert f"first-{number}" not in bench.items()
            return
    pytest.fail("another caller led each time")


def interrupted(bench: Bench, name: str) -> None:
    """Write an item, and be interrupted where this thread runs the operation itself."""
    caller = threading.get_ident()

    def write(tx: Transaction) -> None:
        tx.rows("INSERT INTO item VALUES (?)", (name,))
        if threading.get_ident() == caller:
            raise KeyboardInterrupt

    bench.writer.run(write, fsync=False)


def test_more_callers_than_a_group_holds_are_all_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line longer than one transaction takes is served by several."""
    monkeypatch.setattr("penstock.brokers.sqlite.writer._GROUP_MAX", 3)
    names = [f"item-{number}" for number in range(CALLERS)]
    done = bench.line_up(*(lambda name=name: bench.put(name) for name in names))
    assert [future.exception() for future in done] == [None] * CALLERS
    assert bench.items() == set(names)
    assert bench.commits >= 3
