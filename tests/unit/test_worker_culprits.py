"""What a runner was killed for, when another of its attempts joins meanwhile."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from penstock.broker import requests as r
from penstock.core.ids import AttemptKey, Fence
from penstock.core.job import SHARED, Claimed
from penstock.core.lifecycle import State
from penstock.core.outcome import Interrupted, Outcome
from penstock.worker.supervisor.aftermath import account_for
from penstock.worker.supervisor.leases import draw_lease
from penstock.worker.supervisor.parts import Parts
from penstock.worker.supervisor.runner_process import End, RunnerProcess
from penstock.worker.supervisor.settling import Settler, Verdict
from tests.support.takeover_bench import ERROR, QUEUES, RUNNER_PID, TTL_MS, TakeoverBench


class Slow:
    """A settler during whose first call something else happens."""

    def __init__(self, behind: Settler, meanwhile: Any) -> None:
        """Settle with `behind`."""
        self._behind = behind
        self._meanwhile = [meanwhile]

    async def settle(self, verdicts: Sequence[Verdict]) -> None:
        """Settle."""
        while self._meanwhile:
            self._meanwhile.pop()()
        await self._behind.settle(verdicts)


def two_jobs(bench: TakeoverBench) -> list[Claimed]:
    """Let one runner claim two jobs."""
    lease = draw_lease()
    owner = bench.owner(RUNNER_PID)
    bench.store.open_lease(r.OpenLease(id=lease, queues=QUEUES, owner=owner, ttl_ms=TTL_MS))
    bench.enqueue()
    bench.enqueue()
    fence = Fence(secrets.token_hex(16))
    request = r.ClaimRequest(lease=lease, offers=(r.Offer("q", (SHARED,)),), limit=2, fence=fence)
    return list(bench.store.claim(request).jobs)


def test_a_culprit_that_joins_while_the_first_is_settled_is_settled_too() -> None:
    """Both get an outcome; neither stays running for nobody. Seed 1860 of the simulation."""

    async def main() -> None:
        bench = TakeoverBench()
        await bench.open_own()
        first, second = two_jobs(bench)
        late: Outcome = Interrupted(ERROR)
        culprits: dict[AttemptKey, Outcome] = {(first.id, first.fence): late}
        buried: list[str] = []
        runner = SimpleNamespace(
            pid=RUNNER_PID,
            process=SimpleNamespace(kill=lambda: None),
            culprits=culprits,
            lease=first.lease,
            end=End.EVICTED,
            bury=lambda: buried.append("buried"),
        )
        slow = Slow(bench.settler, lambda: culprits.update({(second.id, second.fence): late}))
        parts = SimpleNamespace(
            link=bench.link, settler=slow, leases=bench.leases, reclaim=bench.reclaim
        )
        await account_for(cast("RunnerProcess", runner), cast("Any", None), cast("Parts", parts))
        states = [bench.state(job)[:2] for job in (first, second)]
        assert states == [(State.QUEUED, "interrupted")] * 2
        assert buried == ["buried"]
        await bench.link.broker.close()

    asyncio.run(main())
