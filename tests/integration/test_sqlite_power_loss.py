"""Power loss: what was promised to survive it does, and the file is whole whatever was lost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.broker import requests as r
from penstock.core.ids import LeaseId
from penstock.core.settlement import Applied
from tests.support.sqlite_actor import Actor, completions
from tests.support.sqlite_file import check_whole, job_ids, look
from tests.support.sqlite_vfs import Power, watched

#: Rounds of work in one life, each followed by a cut.
ROUNDS = 25


@pytest.fixture
def power() -> Iterator[Power]:
    """Let every connection of the adapter go through a file system that can lose power."""
    made = Power()
    with watched(made):
        yield made


class Promises:
    """What the broker said would survive.

    Attributes:
        accepted: jobs whose answer said `fsync`.
        settled: jobs whose settlement was applied.
    """

    def __init__(self, actor: Actor, chance: random.Random) -> None:
        self.actor = actor
        self.chance = chance
        self.accepted: set[str] = set()
        self.settled: set[str] = set()
        self.lease: LeaseId = actor.lease()

    def act(self) -> None:
        """Do one thing at random."""
        broker = self.actor.broker
        act = self.chance.choice(("fsync", "local", "local", "local", "work", "upkeep"))
        if act == "upkeep":
            broker.promote(["q"], limit=10)
            broker.extend([self.lease], ttl_ms=600_000)
        elif act == "work":
            claim = self.actor.claim_request(self.lease, limit=5)
            running = completions(broker.claim(claim).jobs)
            applied = broker.settle(running)
            assert set(applied) <= {Applied.APPLIED}
            self.settled |= {one.id for one in running}
        else:
            jobs = [self.actor.request() for _ in range(self.chance.randrange(1, 8))]
            answers = broker.enqueue(jobs, durability=r.Durability(act))
            self.accepted |= {
                answer.id
                for answer in answers
                if isinstance(answer, r.Accepted) and answer.durability is r.Durability.FSYNC
            }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_promised_survives(tmp_path: Path, power: Power, seed: int) -> None:
    """After a cut at any instant every `fsync` job and every settlement is there."""
    chance = random.Random(seed)
    actor = Actor(tmp_path / "jobs.db", r.Durability.FSYNC)
    promises = Promises(actor, chance)
    # Checkpoints often, so that cuts hit them and the log is started anew many times.
    actor.broker._file._writer._cursor.connection.wal_autocheckpoint(8)  # type: ignore[union-attr]
    lost_local = 0
    for number in range(ROUNDS):
        for _ in range(chance.randrange(1, 6)):
            promises.act()
        after = tmp_path / f"after-{number}"
        after.mkdir()
        path = power.cut(tmp_path / "jobs.db", after, chance)
        found = job_ids(path)
        assert promises.accepted <= found, f"seed {seed}, cut {number}"
        completed = look(path, "SELECT id FROM job WHERE state = 'completed'")
        assert promises.settled <= {str(row[0]) for row in completed}, f"seed {seed}, cut {number}"
        check_whole(path)
        lost_local += len(job_ids(tmp_path / "jobs.db") - found)
    actor.broker.close()
    assert promises.accepted
    assert promises.settled
    assert lost_local > 0, "no cut lost anything, so none of them cut anything off"


def test_a_file_of_class_local_is_whole_after_a_cut(tmp_path: Path, power: Power) -> None:
    """Without any fsync the last writes may be gone, but what is found is consistent."""
    chance = random.Random(4)
    actor = Actor(tmp_path / "jobs.db", r.Durability.LOCAL)
    promises = Promises(actor, chance)
    actor.broker._file._writer._cursor.connection.wal_autocheckpoint(8)  # type: ignore[union-attr]
    for number in range(ROUNDS):
        actor.put(chance.randrange(1, 20))
        claim = actor.claim_request(promises.lease, limit=7)
        actor.broker.settle(completions(actor.broker.claim(claim).jobs))
        after = tmp_path / f"after-{number}"
        after.mkdir()
        check_whole(power.cut(tmp_path / "jobs.db", after, chance))
    actor.broker.close()
