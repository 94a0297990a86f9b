"""From what a supervisor begins with to the parts that its duties share. Nothing runs yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from penstock.broker.requests import BrokerFacts
from penstock.executors.process import Spawner
from penstock.serializers.sealing import Seal
from penstock.worker.installed import runtime_of

from .cancels import Cancels
from .identity import Identity
from .leases import Leases
from .link import BrokerLink
from .offer import budget_of, capacity_of
from .parts import Parts
from .plan import WorkerPlan
from .pressure import Pressure
from .profiles import Profiles
from .reclaim import Reclaim
from .settling import Settler
from .slots import Slots
from .startup import Start
from .stopping import Stopping
from .task_facts import Tasks


class Frame(NamedTuple):
    """What a supervisor has before it knows app and broker."""

    plan: WorkerPlan
    environ: Mapping[str, str]
    spawner: Spawner
    stopping: Stopping


def assemble(
    frame: Frame, start: Start, link: BrokerLink, facts: BrokerFacts, *, cancel_token: str
) -> Parts:
    """Return the parts of a worker.

    Args:
        frame: of its supervisor.
        start: what it begins with.
        link: to the broker.
        facts: what the broker is.
        cancel_token: where the broker tells of cancels.
    """
    settings, tasks = start.settings, Tasks()
    tasks.learn(start.manifest)
    identity = Identity.of_this_process(link.clock.boot_id, settings.worker_name or None)
    settler = Settler(link, tasks)
    profiles = Profiles(link, tasks)
    budget = budget_of(start, frame.environ, frame.plan, identity, tasks, profiles)
    leases = Leases(
        link,
        queues=settings.queues,
        ttl_ms=settings.lease_ttl_ms,
        extend_ms=settings.lease_extend_ms,
        cancels=Cancels(settings.kill_grace_ms),
        wake_token=cancel_token,
        capacity=capacity_of(settings, start.devices, host=budget.host, tasks=tasks),
    )
    reclaim = Reclaim(
        link,
        settler,
        tasks=tasks,
        identity=identity,
        queues=settings.queues,
        leases=leases,
        lease_ttl_ms=settings.lease_ttl_ms,
        interval_ms=settings.reclaim_interval_ms,
    )
    reclaim.seen = budget.look
    return Parts(
        plan=frame.plan,
        settings=settings,
        environ=frame.environ,
        identity=identity,
        spawner=frame.spawner,
        stopping=frame.stopping,
        link=link,
        broker=facts,
        tasks=tasks,
        settler=settler,
        leases=leases,
        reclaim=reclaim,
        slots=Slots(settings.concurrency),
        budget=budget,
        pressure=Pressure(settings.memory_pause),
        profiles=profiles,
        seal=Seal(settings.secret_keys),
        runtime=runtime_of(frame.environ),
        groups=start.groups,
    )
