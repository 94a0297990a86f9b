"""A broker and the oracle, called alike and compared after each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.broker import requests as r
from penstock.broker.protocol import Broker
from penstock.core.ids import JobId
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from penstock.testing.conformance import Harness
from tests.properties.answers import comparable, seen
from tests.properties.paths import can_lead


class Twins:
    """The broker under test and the memory broker, in worlds of their own that move alike.

    Attributes:
        jobs: every job as the last call left it.
    """

    def __init__(self, subject: Harness, oracle: Harness) -> None:
        self.harnesses = (subject, oracle)
        self.brokers = tuple(harness.open() for harness in self.harnesses)
        self.jobs: dict[JobId, JobRecord] = {}

    def call(self, verb: str, make: Callable[[Broker], Any]) -> Any:
        """Call a verb of both; answers and stores must agree. Return the subject's answer."""
        answer, expected = (make(broker) for broker in self.brokers)
        assert comparable(answer) == comparable(expected), f"{verb} differs from the oracle"
        shown, expected = (seen(broker) for broker in self.brokers)
        assert shown == expected, f"after {verb} the store differs from the oracle's"
        jobs = {job.id: job for job in shown["jobs"]}
        self._check_moves(verb, jobs)
        check_counters(shown["counts"], jobs)
        self.jobs = jobs
        return answer

    def each(self, act: Callable[[Harness], None]) -> None:
        """Do the same to both worlds."""
        for harness in self.harnesses:
            act(harness)

    def state(self, job_id: JobId) -> State | None:
        """Return where a job is, None where it is not."""
        job = self.jobs.get(job_id)
        return None if job is None else job.state

    def close(self) -> None:
        """Close both."""
        for harness in self.harnesses:
            harness.close()

    def _check_moves(self, verb: str, jobs: dict[JobId, JobRecord]) -> None:
        for job_id in jobs.keys() | self.jobs.keys():
            old, new = self.jobs.get(job_id), jobs.get(job_id)
            start = None if old is None else old.state
            to = None if new is None else new.state
            assert start == to or can_lead(verb, start, to), f"{verb}: {start} -> {to}"
            if old is not None and new is not None:
                assert new.claim_number >= old.claim_number, f"{verb}: claim number fell"


def check_counters(counts: Sequence[r.QueueCounts], jobs: dict[JobId, JobRecord]) -> None:
    """Assert that each counter equals a recount."""
    for counted in counts:
        for state in State:
            real = sum(j.queue == counted.queue and j.state is state for j in jobs.values())
            assert getattr(counted, state) == real, f"{counted.queue} {state}: {real} jobs"
