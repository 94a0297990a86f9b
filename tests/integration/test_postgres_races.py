"""Everybody at once on one PostgreSQL database: what must be true afterwards."""

from __future__ import annotations

import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import msgspec
import psycopg
import pytest

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.brokers.postgres import PostgresBroker
from penstock.core import settlement as s
from penstock.core.ids import Fence, JobId
from penstock.core.job import Charges, Claimed, JobRecord, Parent, Reason
from penstock.core.lifecycle import FINAL, State
from penstock.core.usage import Usage
from penstock.testing.conformance.snapshot import every_job
from tests.support.eventually import eventually
from tests.support.postgres_schema import (
    QUEUE,
    ask,
    claim,
    counted,
    fresh_schema,
    new_job,
    open_lease,
    put,
    schema_of,
)

#: Rounds of each thread; together they are some thousand transactions, a few of them deadlocks.
ROUNDS = 40
FAILED = FINAL - {State.COMPLETED}
MEASURED = Usage(cpu_ms=1)


@pytest.fixture
def url() -> Iterator[str]:
    """URL of tables of this test's own."""
    with fresh_schema() as found:
        yield found


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    """A broker on them."""
    with closing(PostgresBroker.open(url)) as found:
        found.register([QUEUE])
        yield found


class Crowd:
    """Clients, workers, operators and maintenance, each in threads of their own.

    Attributes:
        failures: what was raised; nothing may be.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._chance = random.Random()
        self._ids: list[JobId] = []
        self.failures: list[Exception] = []

    def act(self) -> None:
        """Let everybody do his rounds."""
        roles = (self._enqueue, self._enqueue, self._work, self._work, self._operate, self._tend)
        threads = [threading.Thread(target=self._rounds, args=(role,)) for role in roles]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _rounds(self, role: Callable[[], object]) -> None:
        try:
            for _ in range(ROUNDS):
                role()
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failures.append(error)

    def _enqueue(self) -> None:
        batch: list[r.EnqueueRequest] = []
        for _ in range(self._chance.randint(1, 6)):
            request = new_job(self._broker, expires_ms=self._chance.choice([None, None, 20]))
            older = [*self._ids[-30:], *(earlier.id for earlier in batch)]
            parents = set(self._chance.choices(older, k=2)) if older else set()
            edges = tuple(Parent(parent, self._chance.random() < 0.3) for parent in parents)
            batch.append(msgspec.structs.replace(request, parents=edges))
        answers = self._broker.enqueue(batch)
        self._ids += [answer.id for answer in answers if isinstance(answer, r.Accepted)]

    def _work(self) -> None:
        lease = open_lease(self._broker)
        for _ in range(5):
            jobs = claim(self._broker, lease, wake_token=secrets.token_hex(16))
            self._broker.settle([ended for job in jobs if (ended := self._end(job)) is not None])
        self._broker.close_leases([lease])

    def _end(self, job: Claimed) -> s.Settlement | None:
        """Return how an attempt ended; None: its worker is lost."""
        job_id, fence = job.id, job.fence
        kinds: list[s.Settlement | None] = [
            s.Complete(id=job_id, fence=fence, outcome="ended", result=b"1"),
            s.Complete(id=job_id, fence=fence, outcome="ended", result=b"2", usage=MEASURED),
            s.Retry(id=job_id, fence=fence, outcome="ended", delay_ms=1, charges=Charges(errors=1)),
            s.Bury(id=job_id, fence=fence, outcome="ended", reason=Reason.POISON),
            s.Release(id=job_id, fence=fence, outcome="ended", usage=MEASURED),
            None,
        ]
        return self._chance.choice(kinds)

    def _operate(self) -> None:
        some = list(dict.fromkeys(self._chance.choices(self._ids, k=4))) if self._ids else []
        verb = self._chance.choice(["cancel", "requeue", "requeue", "delete"])
        getattr(self._broker, verb)(some)

    def _tend(self) -> None:
        self._broker.promote([QUEUE], limit=50)
        self._broker.expire([QUEUE], limit=50)
        lease = open_lease(self._broker)
        fence = Fence(secrets.token_hex(16))
        request = r.ReclaimRequest(
            lease=lease, queues=(QUEUE,), fence=fence, limit=50, lease_ttl_ms=60_000
        )
        lost = self._broker.reclaim(request).jobs
        self._broker.settle([s.Release(id=job.id, fence=fence, outcome="lost") for job in lost])
        rules = [r.Retention(state=state, age_ms=10**9, count_max=20) for state in sorted(FINAL)]
        self._broker.prune([QUEUE], rules, limit=20)
        self._broker.close_leases([lease])


def holds_back(parent: Parent, jobs: dict[JobId, JobRecord]) -> bool:
    """Return whether an edge still holds its child back."""
    if parent.id not in jobs:
        return False
    state = jobs[parent.id].state
    return state is not State.COMPLETED and not (parent.ignore_failure and state in FAILED)


def test_counters_and_families_are_whole_after_a_crowd(broker: Broker) -> None:
    """Nobody is refused, the counters equal a recount, each blocked job waits for real parents."""
    crowd = Crowd(broker)
    crowd.act()
    assert crowd.failures == []
    jobs = {job.id: job for job in every_job(broker)}
    truth = Counter(job.state for job in jobs.values())
    counts = counted(broker)
    assert {state: getattr(counts, state) for state in State} == {x: truth[x] for x in State}
    for job in jobs.values():
        if job.state is State.BLOCKED:
            held_back = sum(holds_back(parent, jobs) for parent in job.parents)
            assert job.parents_left == held_back > 0, job


def test_a_fence_that_moves_meanwhile_keeps_the_usage_out(url: str, broker: Broker) -> None:
    """A settlement that waits for a takeover is stale when it goes on, with all that it brings."""
    [job_id] = put(broker)
    [job] = claim(broker, open_lease(broker))
    answers: list[Sequence[s.Applied]] = []
    end = s.Complete(id=job_id, fence=job.fence, outcome="ended", result=b"1", usage=MEASURED)
    thread = threading.Thread(target=lambda: answers.append(broker.settle([end])))
    with closing(psycopg.connect(url.partition("?")[0])) as taker:
        taker.execute(f'SET search_path = "{schema_of(url)}"'.encode())
        taker.execute("UPDATE job SET fence = %s", (secrets.token_hex(16),))
        waiting = (
            "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) "
            f"WHERE NOT granted AND query LIKE '%{schema_of(url)}%'"
        )
        thread.start()
        eventually(lambda: ask(url, waiting) != [], within_s=5, what="the settlement waits")
        taker.commit()
    thread.join()
    assert [list(one) for one in answers] == [[s.Applied.STALE]]
    assert ask(url, "SELECT * FROM usage") == []
    assert [attempt.usage for attempt in every_job(broker)[0].attempts] == [None]
