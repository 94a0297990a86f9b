"""What a worker makes of the runs that it measured, beside what the broker tells of all."""

from __future__ import annotations

from typing import cast

from penstock.core.manifest import AppManifest, TaskFacts
from penstock.core.pace import Kind, pace_sums
from penstock.core.retry import POLICY_DEFAULT
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.profiles import Profiles
from penstock.worker.supervisor.task_facts import Tasks

NOW = 1_790_000_000_000
LIGHT_MS = 500.0
MIB = 2**20


def test_a_plain_task_is_what_its_latest_runs_were() -> None:
    """Light after a hundred short runs, long after three long ones, and no other task with it."""
    tasks = Tasks()
    facts = [TaskFacts(name=name, queue="q", policy=POLICY_DEFAULT) for name in ("a", "b")]
    tasks.learn(AppManifest(url="memory://", tasks=tuple(facts), queues=("q",)))
    profiles = Profiles(cast("BrokerLink", None), tasks)

    def kinds() -> dict[str, Kind]:
        return profiles.kinds(light_ms=LIGHT_MS, light_bytes=128 * MIB)

    assert kinds() == {}
    for task in ("a", "b"):
        for _ in range(100):
            profiles.paced(task, pace_sums(10.0, 1.0, side_by_side=1, at_ms=NOW))
    assert kinds() == {"a": Kind.LIGHT, "b": Kind.LIGHT}
    for _ in range(3):
        profiles.paced("a", pace_sums(5_000.0, 10.0, side_by_side=1, at_ms=NOW))
    assert kinds() == {"a": Kind.LONG, "b": Kind.LIGHT}
