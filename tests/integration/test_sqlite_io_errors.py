"""The n-th write or sync fails, for every n: what was told stays true, and the file stays whole."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from penstock.broker import requests as r
from penstock.brokers.sqlite import SqliteBroker
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support.sqlite_actor import Actor, completions
from tests.support.sqlite_file import check_whole, job_ids
from tests.support.sqlite_vfs import Faults, watched

#: Calls until one enqueue must have been through without meeting its fault.
CALLS_MAX = 200


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Let every connection of the adapter go through a file system with faults."""
    made = Faults()
    with watched(made):
        yield made


@pytest.mark.parametrize("durability", [r.Durability.LOCAL, r.Durability.FSYNC])
@pytest.mark.parametrize("kind", ["write", "sync"])
def test_the_nth_call_fails(
    tmp_path: Path, faults: Faults, kind: str, durability: r.Durability
) -> None:
    """Accepted: it is there. Unavailable: it is not. Unknown: asking again makes one job."""
    told: list[str] = []
    for number in range(1, CALLS_MAX):
        path = tmp_path / f"{number}.db"
        actor = Actor(path, durability)
        actor.put(20)
        request = actor.request()
        # Every commit moves the log into the file, so that checkpoints meet the faults as well.
        actor.broker._file._writer._cursor.connection.wal_autocheckpoint(1)  # type: ignore[union-attr]
        faults.arm(kind, number)
        try:
            (answer,) = actor.broker.enqueue([request])
            assert isinstance(answer, r.Accepted)
            told.append("accepted")
        except Unavailable:
            told.append("unavailable")
        except OutcomeUnknown:
            told.append("unknown")
        if not faults.disarm():
            actor.broker.close()
            break
        expected = {"accepted": [True], "unavailable": [False], "unknown": [True, False]}
        assert (request.id in job_ids(path)) in expected[told[-1]], (number, told[-1])
        (again,) = actor.broker.enqueue([request])
        assert isinstance(again, r.Accepted)
        assert request.id in job_ids(path)
        check_whole(path)
        actor.broker.close()
    assert told[-1] == "accepted", f"no end after {CALLS_MAX} calls"
    assert len(told) > 1, "no call of this kind was met"
    assert "unknown" in told, told


@pytest.mark.parametrize(
    ("durability", "promised"), [(r.Durability.FSYNC, 1), (r.Durability.LOCAL, 0)]
)
def test_only_promises_wait_for_the_disk(
    tmp_path: Path, faults: Faults, durability: r.Durability, promised: int
) -> None:
    """Enqueue syncs as asked and settle as the broker is set; claims and upkeep never do."""

    def syncs(call: Callable[[], object]) -> int:
        before = faults.calls["sync"]
        call()
        return faults.calls["sync"] - before

    actor = Actor(tmp_path / "jobs.db", durability)
    broker, lease = actor.broker, actor.lease()
    actor.put()
    one, two = actor.request(), actor.request()
    first, second, third = (actor.claim_request(lease, limit=2) for _ in range(3))
    assert syncs(lambda: broker.enqueue([one], durability=r.Durability.FSYNC)) == 1
    assert syncs(lambda: broker.enqueue([two], durability=r.Durability.LOCAL)) == 0
    assert syncs(actor.put) == promised
    assert syncs(lambda: broker.promote(["q"], limit=1)) == 0
    assert syncs(lambda: broker.extend([lease], ttl_ms=1_000_000)) == 0
    assert syncs(lambda: broker.claim(first)) == 0
    running = completions(broker.claim(first).jobs)
    assert syncs(lambda: broker.settle(running[:1])) == promised
    assert syncs(lambda: broker.cycle([], second)) == 0
    assert syncs(lambda: broker.cycle(running[1:], third)) == promised
    broker.close()


def test_an_unknown_outcome_is_never_told_as_definite(tmp_path: Path, faults: Faults) -> None:
    """A failed fsync of a commit says that the write may have happened."""
    actor = Actor(tmp_path / "jobs.db", r.Durability.FSYNC)
    actor.put()
    faults.arm("sync", 1)
    with pytest.raises(OutcomeUnknown, match=r"may or may not have happened.*the same ids"):
        actor.put()
    actor.broker.close()


def test_a_file_that_cannot_be_opened_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors is told as such, and goes by."""
    path = tmp_path / "jobs.db"
    broker = SqliteBroker.open(path)

    def refuse(*_: object, **__: object) -> apsw.Connection:
        raise apsw.CantOpenError(errno.errorcode[errno.EMFILE])

    with monkeypatch.context() as patch:
        patch.setattr("penstock.brokers.sqlite.connection.apsw.Connection", refuse)
        with pytest.raises(Unavailable, match=r"cannot be opened.*limit of open files"):
            broker.counts()
    assert list(broker.counts()) == []
