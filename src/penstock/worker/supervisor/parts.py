"""The parts of one supervisor that its duties share. Made once the app and the broker are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.broker.requests import BrokerFacts
from penstock.config.settings import Settings
from penstock.core.runtime import Runtime
from penstock.executors.kernel_table import KernelOoms
from penstock.executors.process import Spawner
from penstock.serializers.sealing import Seal

from .budget import Budget
from .groups import Groups
from .identity import Identity
from .leases import Leases
from .link import BrokerLink
from .plan import WorkerPlan
from .pressure import Pressure
from .profiles import Profiles
from .reclaim import Reclaim
from .runner_process import RunnerProcess
from .settling import Settler
from .slots import Slots
from .stopping import Stopping
from .task_facts import Tasks


@dataclass(frozen=True)
class Parts:
    """What the duties of a supervisor work with.

    Attributes:
        plan: what the worker was told.
        settings: what follows from it.
        environ: what the worker was started with; basis of the environment of its processes.
        identity: the worker's name and place.
        spawner: starts processes.
        stopping: whether the worker goes on.
        link: to the broker.
        broker: what the broker is.
        tasks: what is known of the app's tasks.
        settler: writes what follows from outcomes.
        leases: the worker's leases.
        reclaim: takes over jobs of the dead.
        slots: shared by threads and children.
        budget: of memory, for jobs in children.
        pressure: whether memory is short all over the machine.
        profiles: what tasks were measured to need.
        seal: opens secret arguments for children, which have no keys.
        runtime: in what the worker runs, kept with attempts that fail; None: nobody asked.
        groups: makes control groups for children, where there can be any.
        ooms: counts what the kernel kills on this host for want of memory.
    """

    plan: WorkerPlan
    settings: Settings
    environ: Mapping[str, str]
    identity: Identity
    spawner: Spawner
    stopping: Stopping
    link: BrokerLink
    broker: BrokerFacts
    tasks: Tasks
    settler: Settler
    leases: Leases
    reclaim: Reclaim
    slots: Slots[RunnerProcess]
    budget: Budget
    pressure: Pressure
    profiles: Profiles
    seal: Seal
    runtime: Runtime | None = None
    groups: Groups = field(default_factory=Groups)
    ooms: KernelOoms = field(default_factory=KernelOoms)
