"""What a worker reserves: for claims under way and for jobs that are here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from penstock.broker.requests import LeaseFacts
from penstock.core.admission import Gate
from penstock.core.capacity import Capacity
from penstock.core.demand import GPU_CLAIM, MEMORY, Demand, need_with
from penstock.core.devices import Device
from penstock.core.footprint import SAMPLES_MIN, Run
from penstock.core.ids import Fence, JobId, LeaseId
from penstock.core.job import Charges, Claimed, JobSpec
from penstock.core.manifest import AppManifest, TaskFacts
from penstock.core.memory import ASSUMED_BYTES, COLD_BYTES, limit_bytes
from penstock.core.need import learned_need, sized_need, sizes_of
from penstock.core.retry import POLICY_DEFAULT
from penstock.worker.supervisor.budget import Budget
from penstock.worker.supervisor.claims import LoneClaim
from penstock.worker.supervisor.device_shares import DeviceShares
from penstock.worker.supervisor.grants import Grant, Misfit
from penstock.worker.supervisor.host_gate import HostGate
from penstock.worker.supervisor.host_ledger import HostLedger
from penstock.worker.supervisor.host_records import Record
from penstock.worker.supervisor.host_share import HostShare, Pool
from penstock.worker.supervisor.link import BrokerLink
from penstock.worker.supervisor.profiles import Profiles
from penstock.worker.supervisor.task_facts import Tasks

MIB = 2**20
GIB = 2**30
NOW = 1_790_000_000_000


class Bench:
    """A budget of 1 GiB, and tasks: one declares 256 MiB, one is learned, one says nothing."""

    def __init__(self) -> None:
        """Begin with nothing reserved."""
        self.tasks = Tasks()
        facts = [
            TaskFacts(name="declared", queue="q", policy=POLICY_DEFAULT, memory_bytes=256 * MIB),
            TaskFacts(name="learned", queue="q", policy=POLICY_DEFAULT, memory_auto=True),
            TaskFacts(name="silent", queue="q", policy=POLICY_DEFAULT),
        ]
        self.tasks.learn(AppManifest(url="memory://", tasks=tuple(facts), queues=("q",)))
        # Nothing here asks the broker.
        self.profiles = Profiles(cast("BrokerLink", None), self.tasks)
        self.budget = Budget(GIB, self.tasks, self.profiles)
        self._count = 0

    def job(
        self,
        task: str,
        need: str = "alone",
        *,
        memory: int | None = None,
        enlarged: int | None = None,
    ) -> Claimed:
        """Return a job that was claimed."""
        self._count += 1
        spec = JobSpec(task=task, payload=msgspec.Raw(b"{}"), need=need, memory_bytes=memory)
        return Claimed(
            id=JobId(f"{self._count:032x}"), queue="q", spec=spec, fence=Fence("f" * 32),
            lease=LeaseId("a" * 32), claim_number=1, claimed_at=0,
            charges=Charges(memory_bytes=enlarged),
        )  # fmt: skip


@pytest.fixture
def bench() -> Bench:
    """A budget with nothing reserved."""
    return Bench()


def claim(jobs: int) -> LoneClaim:
    """Return a claim for so many jobs."""
    return LoneClaim(cast("object", SimpleNamespace(limit=jobs)))  # type: ignore[arg-type]


def lease(queue: str, capacity: Capacity | None) -> LeaseFacts:
    """Return the lease of another worker."""
    told = SimpleNamespace(queues=(queue,), capacity=capacity)
    return cast("LeaseFacts", told)


def test_a_job_is_given_what_stands_nearest_to_it(bench: Bench) -> None:
    """What it was given since, else its call's word, else its task's; else it is counted only."""
    grant = bench.budget.grant
    given = [
        grant(bench.job("declared", memory=64 * MIB, enlarged=96 * MIB)),
        grant(bench.job("declared", memory=64 * MIB)),
        grant(bench.job("declared")),
        grant(bench.job("silent")),
    ]
    assert given == [
        Grant(96 * MIB, limit_bytes(96 * MIB)),
        Grant(64 * MIB, limit_bytes(64 * MIB)),
        Grant(256 * MIB, limit_bytes(256 * MIB)),
        Grant(ASSUMED_BYTES, None),
    ]


def test_reservations_end_with_their_attempts(bench: Bench) -> None:
    """What is reserved is what is here."""
    first, second = bench.job("declared"), bench.job("silent")
    bench.budget.grant(first)
    bench.budget.grant(second)
    assert bench.budget.reserved_bytes == 256 * MIB + ASSUMED_BYTES
    bench.budget.give_back(first)
    bench.budget.publish()
    bench.budget.give_back(first)
    bench.budget.publish()
    assert bench.budget.reserved_bytes == ASSUMED_BYTES
    assert bench.budget.free_bytes == GIB - ASSUMED_BYTES


def test_a_claim_holds_back_what_it_may_bring(bench: Bench) -> None:
    """Until it is not open any more."""
    first, second = claim(2), claim(1)
    bench.budget.promise(first, {MEMORY: 300 * MIB})
    bench.budget.promise(second, {MEMORY: 100 * MIB})
    assert bench.budget.free_bytes == GIB - 700 * MIB
    bench.budget.keep_promised([second])
    assert bench.budget.free_bytes == GIB - 100 * MIB


def test_what_does_not_fit_is_told_where_it_belongs(bench: Bench) -> None:
    """What is larger than the budget: a set that is not offered here again; else its own set."""
    large = bench.budget.grant(bench.job("silent", memory=GIB + 100 * MIB))
    assert isinstance(large, Misfit)
    assert not bench.budget.counting.could_hold(("q", large.need))
    assert bench.budget.counting.could_hold(("q", sized_need(GIB)))
    bench.budget.grant(bench.job("silent", memory=900 * MIB))
    later = bench.budget.grant(bench.job("declared"))
    assert isinstance(later, Misfit)
    assert bench.budget.counting.could_hold(("q", later.need))
    sizes = sizes_of(later.need)
    assert sizes is not None
    assert sizes.over_bytes < 256 * MIB <= sizes.most_bytes


def test_what_is_learned_is_given_from_the_third_run_on(bench: Bench) -> None:
    """Before, it counts as 512 MiB and may take all; after, the limit follows from the runs."""
    need = learned_need("learned", None)
    assert bench.budget.grant(bench.job("learned", need)) == Grant(COLD_BYTES, GIB)
    for _ in range(3):
        bench.profiles.ran("learned", Run(100 * MIB, None, NOW))
    given = bench.budget.grant(bench.job("learned", need))
    assert isinstance(given, Grant)
    assert 125 * MIB <= given.reserved_bytes <= 135 * MIB
    assert given.limit_bytes == limit_bytes(given.reserved_bytes)
    assert bench.budget.counting.bytes_of(("q", need)) == given.reserved_bytes


def test_no_learned_limit_lies_beyond_the_largest_worker(bench: Bench) -> None:
    """Runs elsewhere took more than any worker has now: the limit follows from what there is."""
    need = learned_need("learned", None)
    for _ in range(3):
        bench.profiles.ran("learned", Run(4 * GIB, None, NOW))
    assert bench.budget.grant(bench.job("learned", need)) == Grant(GIB, limit_bytes(GIB))


def test_an_attempt_that_ends_late_takes_nothing_from_the_next(bench: Bench) -> None:
    """The same job, claimed here again, keeps what it was given."""
    first = bench.job("declared")
    again = msgspec.structs.replace(first, fence=Fence("e" * 32))
    bench.budget.grant(first)
    bench.budget.grant(again)
    bench.budget.give_back(first)
    bench.budget.publish()
    assert bench.budget.reserved_bytes == 256 * MIB


def test_the_largest_worker_is_known_from_leases(bench: Bench) -> None:
    """Its own budget, or a larger one that another worker of the job's queue tells."""
    job, licensed = bench.job("silent"), bench.job("silent", "takes.r1-license:alone")
    told = [None, Capacity(), Capacity(memory_bytes=GIB // 2), Capacity(memory_bytes=4 * GIB)]
    leases = [lease("q", one) for one in told]
    bench.budget.look([*leases[:3], lease("other", told[3])])
    assert bench.budget.counting.largest_bytes(job) == GIB
    bench.budget.look(leases)
    assert bench.budget.counting.largest_bytes(job) == 4 * GIB
    assert bench.budget.counting.largest_bytes(licensed) == 0, "none has a licence"


def test_what_is_learned_is_cut_to_a_worker_that_could_run_it(bench: Bench) -> None:
    """A larger worker of another queue leaves it to this one, or nobody would ever run it."""
    for _ in range(SAMPLES_MIN):
        bench.profiles.ran("learned", Run(2 * GIB, None, NOW))
    need = learned_need("learned", None)
    large = Capacity(memory_bytes=16 * GIB)
    bench.budget.look([lease("other", large)])
    assert bench.budget.counting.could_hold(("q", need))
    assert bench.budget.counting.bytes_of(("q", need)) == GIB
    bench.budget.look([lease("q", large)])
    assert not bench.budget.counting.could_hold(("q", need))
    assert bench.budget.counting.could_hold(("q", f"takes.r1-license:{need}")) is False, (
        "it has none"
    )


HAS = Capacity(cpus_milli=4000, labels=("eu",), resources={"license": 2})
GPUS = [Device("large", 24 * GIB), Device("small", 8 * GIB)]


def rich(bench: Bench) -> Budget:
    """Return a budget of 1 GiB, 4 CPUs, two licences and two GPUs."""
    return Budget(GIB, bench.tasks, bench.profiles, capacity=HAS, gpus=DeviceShares(GPUS))


def neighbours(folder: Path) -> tuple[Bench, Bench]:
    """Return two workers of one host."""
    one, other = Bench(), Bench()
    for number, bench in enumerate((one, other), 1):

        def ledger(name: str, owner: Record) -> HostLedger:
            return HostLedger(folder / name, owner, is_alive=lambda _: True)

        own = Record(number, 1)
        bench.budget = Budget(
            GIB, bench.tasks, bench.profiles,
            capacity=HAS,
            gpus=DeviceShares(GPUS, lambda gpu, own=own: ledger(gpu.uuid, own)),  # type: ignore[misc]
            host=HostShare([Pool(ledger("memory", own), GIB)]),
        )  # fmt: skip
    return one, other


def test_everything_that_is_counted_is_held_and_given_back(bench: Bench) -> None:
    """CPUs, resources and devices beside memory; what is short is named."""
    budget, need = rich(bench), "takes.c3000.g1.leu.r2-license:alone.m0"
    job = bench.job("silent", need, memory=16 * MIB)
    empty = budget.free
    granted = budget.grant(job)
    assert isinstance(granted, Grant)
    assert (granted.threads, granted.devices, granted.gpu_memory_bytes) == (3, ("small",), 8 * GIB)
    assert budget.short_of(("q", need), budget.free) == {"cpus", "resource.license"}
    assert budget.short_of(("q", "takes.v20000:alone"), budget.free) == frozenset()
    assert budget.short_of(("q", "takes.g2:alone"), budget.free) == {GPU_CLAIM}
    again = budget.grant(bench.job("silent", need, memory=16 * MIB))
    assert isinstance(again, Misfit)
    assert again.need == need
    budget.give_back(job)
    assert budget.free == empty
    assert not budget.short_of(("q", "takes.g2:alone"), budget.free)


def test_one_claim_at_a_time_may_bring_a_job_for_gpus(bench: Bench) -> None:
    """Which device its job gets is known once it is here; other sets are offered meanwhile."""
    budget, one = rich(bench), claim(1)
    budget.promise(one, budget.counting.amounts_of(("q", "takes.g1:alone")))
    assert budget.short_of(("q", "takes.v100:alone"), budget.free) == {GPU_CLAIM}
    assert not budget.short_of(("q", "takes.c1000:alone"), budget.free)
    budget.keep_promised([])
    assert not budget.short_of(("q", "takes.v100:alone"), budget.free)


@pytest.mark.parametrize(
    ("need", "holds"),
    [
        ("takes.c4000.leu.r2-license:alone", True),
        ("takes.g2:alone.m3", True),
        ("takes.lus:alone", False),
        ("takes.c4001:alone", False),
        ("takes.g3:alone", False),
        ("takes.c1000:alone.m90", False),
        ("takes.unheard-of:alone", False),
    ],
)
def test_a_set_is_for_workers_that_have_what_its_jobs_take(
    bench: Bench, need: str, *, holds: bool
) -> None:
    """All of it, memory too; and nothing that this release knows nothing of."""
    assert rich(bench).counting.could_hold(("q", need)) == holds


def test_only_who_takes_of_what_is_short_competes(bench: Bench) -> None:
    """Memory is taken by all that is large enough to count; a licence by few."""
    budget = rich(bench)
    budget.grant(bench.job("silent", "takes.r2-license:alone", memory=MIB))
    waits = ("q", "takes.r1-license:alone")
    assert budget.competes(("q", "takes.r2-license:alone"), waits)
    assert not budget.competes(("q", "takes.c1000:alone"), waits)
    assert not budget.competes(("q", "alone"), waits)


def test_who_waits_for_a_gpu_leaves_the_others_alone(bench: Bench) -> None:
    """Jobs that fit on a device that is not waited for are not held back."""
    budget = rich(bench)
    budget.grant(bench.job("silent", "takes.v20000:alone"))
    waits = ("q", "takes.g1.v10000:alone")
    assert HostGate(budget).hold_for(waits)
    assert budget.competes(("q", "takes.v9000:alone"), waits)
    assert not budget.competes(("q", "takes.v8000:alone"), waits)
    budget.grant(bench.job("silent", "takes.v8000:alone"))
    assert budget.competes(("q", "takes.v2000:alone"), waits)
    HostGate(budget).open()


def test_an_enlarged_share_counts(bench: Bench) -> None:
    """A job that ran out of a GPU's memory is given what its charges say."""
    budget, job = rich(bench), bench.job("silent", "takes.v6144:alone")
    job = msgspec.structs.replace(job, charges=Charges(gpu_memory_bytes=9 * GIB))
    granted = budget.grant(job)
    assert isinstance(granted, Grant)
    assert (granted.devices, granted.gpu_memory_bytes) == (("large",), 9 * GIB)


def test_what_a_runner_sent_on_takes_what_its_task_takes_by_now(bench: Bench) -> None:
    """It was enqueued as light work; a call that asks for no GPU gets none."""
    need = "takes.g1:alone"
    facts = TaskFacts(name="new", queue="q", policy=POLICY_DEFAULT, isolated=True, need=need)
    bench.tasks.learn(AppManifest(url="memory://", tasks=(facts,), queues=("q",)))
    budget = rich(bench)
    sent, without = budget.grant(bench.job("new", "shared")), budget.grant(bench.job("new"))
    assert isinstance(sent, Grant)
    assert isinstance(without, Grant)
    assert (sent.devices, without.devices) == (("small",), ())


def test_the_largest_gpu_is_known_from_leases(bench: Bench) -> None:
    """Its own, or a larger one that another worker of the queue tells."""
    budget, job = rich(bench), bench.job("silent")
    large = Capacity(gpu_memory_bytes=(GIB, 80 * GIB))
    budget.look([lease("q", None), lease("other", large)])
    assert budget.counting.largest.gpu_bytes(job.queue) == 24 * GIB
    budget.look([lease("q", None), lease("q", large), lease("q", Capacity())])
    assert budget.counting.largest.gpu_bytes(job.queue) == 80 * GIB


def test_two_workers_of_a_host_share_its_gpus(tmp_path: Path) -> None:
    """What one has of a device the other does not have; both may have a part of one."""
    one, other = neighbours(tmp_path)
    large, small = "takes.v20000:alone", "takes.v4000:alone"
    job = one.job("silent", large)
    assert isinstance(one.budget.grant(job), Grant)
    assert other.budget.counting.could_hold(("q", large))
    assert other.budget.short_of(("q", large), other.budget.free) == {GPU_CLAIM}
    assert not other.budget.short_of(("q", large), other.budget.own_free, alone=True)
    assert isinstance(other.budget.grant(other.job("silent", large)), Misfit)
    beside = [other.budget.grant(other.job("silent", small)) for _ in range(3)]
    assert [one.devices for one in beside if isinstance(one, Grant)] == [
        ("large",),
        *[("small",)] * 2,
    ]
    one.budget.give_back(job)
    one.budget.publish()
    assert other.budget.short_of(("q", "takes.g2:alone"), other.budget.free) == {GPU_CLAIM}
    other.budget.leave_host()
    assert not one.budget.short_of(("q", "takes.g2:alone"), one.budget.free)
    one.budget.leave_host()


def test_who_waits_for_a_gpu_leaves_memory_to_others(tmp_path: Path) -> None:
    """It may be busy for hours; once it is free what memory is short is asked for as well."""
    one, other = neighbours(tmp_path)
    needs = [with_memory("takes.g2", 800 * MIB), sized_need(900 * MIB)]
    waits, large = ("q", needs[0]), ("q", needs[1])
    held = other.job("silent", "takes.g1:alone")
    assert isinstance(other.budget.grant(held), Grant)
    gate = HostGate(one.budget)
    assert gate.hold_for(waits)
    assert other.budget.free_bytes == GIB - ASSUMED_BYTES
    filling = other.job("declared", memory=300 * MIB)
    assert isinstance(other.budget.grant(filling), Grant)
    assert HostGate(other.budget).hold_for(large)
    other.budget.give_back(held)
    other.budget.publish()
    assert not gate.hold_memory(waits), "the other worker waits for memory"
    HostGate(other.budget).open()
    assert gate.hold_memory(waits)
    assert gate.hold_memory(waits)
    assert not HostGate(other.budget).hold_for(large)
    other.budget.give_back(filling)
    other.budget.publish()
    assert isinstance(one.budget.grant(one.job("silent", waits[1], memory=800 * MIB)), Grant)
    gate.open()
    one.budget.leave_host()
    other.budget.leave_host()


def with_memory(demand: str, size_bytes: int) -> str:
    """Return the ready set of jobs with a demand, and of a size."""
    return f"{demand}:{sized_need(size_bytes)}"


def test_no_job_is_claimed_for_gpus_that_cannot_be_taken(tmp_path: Path) -> None:
    """A worker that stands still in a ledger's lock lets nobody take: a claim would come back."""
    one, other = neighbours(tmp_path)
    need, plain = "takes.v100:alone", {MEMORY: MIB}
    with other.budget.gpus._ledgers["small"]._records.locked() as is_locked:
        assert is_locked
        assert not one.budget.promise(claim(1), one.budget.counting.amounts_of(("q", need)))
        assert one.budget.promise(claim(1), plain)
    one.budget.keep_promised([])
    assert one.budget.promise(claim(1), one.budget.counting.amounts_of(("q", need)))
    one.budget.leave_host()
    other.budget.leave_host()


def test_one_worker_of_a_host_waits_for_a_gpu(tmp_path: Path) -> None:
    """For a job that has waited long: the others take nothing more of the device that it needs."""
    one, other = neighbours(tmp_path)
    whole, share = ("q", "takes.g1.v10000:alone"), "takes.v10000:alone"
    held = other.job("silent", share)
    assert isinstance(other.budget.grant(held), Grant)
    assert HostGate(one.budget).hold_for(whole)
    assert not HostGate(other.budget).hold_for(whole)
    assert other.budget.short_of(("q", share), other.budget.free) == {GPU_CLAIM}
    assert not other.budget.short_of(("q", "takes.v8000:alone"), other.budget.free), (
        "the other device"
    )
    other.budget.give_back(held)
    other.budget.publish()
    assert isinstance(other.budget.grant(other.job("silent", share)), Misfit)
    granted = one.job("silent", whole[1])
    assert isinstance(one.budget.grant(granted), Grant)
    HostGate(one.budget).open()
    one.budget.give_back(granted)
    one.budget.publish()
    assert isinstance(other.budget.grant(held), Grant)
    assert HostGate(other.budget).hold_for(whole)
    one.budget.leave_host()
    other.budget.leave_host()


def test_what_is_held_for_a_job_that_is_gone_is_held_no_longer(tmp_path: Path) -> None:
    """The gate goes over to the next one that has waited long, with what that one is short of."""
    one, other = neighbours(tmp_path)
    busy = other.job("silent", "takes.g1.v20000:alone", memory=700 * MIB)
    assert isinstance(other.budget.grant(busy), Grant)
    gate = HostGate(one.budget)
    assert gate.hold_for(("q", need_with(Demand(gpus=2), sized_need(600 * MIB))))
    other.budget.give_back(busy)
    other.budget.publish()
    assert other.budget.free_bytes < GIB
    assert gate.hold_for(("q", "takes.c9000:alone"))
    assert other.budget.free_bytes == GIB
    assert not other.budget.short_of(("q", "takes.g2:alone"), other.budget.free)
    one.budget.leave_host()
    other.budget.leave_host()


def test_two_workers_of_a_host_share_its_memory(tmp_path: Path) -> None:
    """What one has promised or granted the other does not have; nor may both hold the gate."""
    one, other = neighbours(tmp_path)
    first = claim(3)
    assert one.budget.promise(first, {MEMORY: 256 * MIB})
    assert other.budget.free_bytes == 256 * MIB
    assert not other.budget.promise(claim(2), {MEMORY: 256 * MIB})
    assert other.budget.reserved_bytes == 0
    assert isinstance(other.budget.grant(other.job("declared", memory=300 * MIB)), Misfit)
    one.budget.keep_promised([])
    # Its jobs are to have what was promised first.
    assert other.budget.free_bytes == 256 * MIB
    one.budget.publish()
    held = other.job("declared", memory=300 * MIB)
    assert isinstance(other.budget.grant(held), Grant)
    assert one.budget.free_bytes == GIB - 300 * MIB
    large = ("q", sized_need(800 * MIB))
    assert HostGate(one.budget).hold_for(large)
    assert not HostGate(other.budget).hold_for(large)
    assert other.budget.free_bytes < 0
    other.budget.give_back(held)
    other.budget.publish()
    assert one.budget.free_bytes == GIB
    one.budget.leave_host()
    assert other.budget.free_bytes == GIB
    other.budget.leave_host()


def test_a_set_of_a_full_queue_grows_older_and_holds_nobody_back() -> None:
    """Its patience goes on; once its queue has room again it is its turn."""
    gate, large, small = Gate(patience_ms=10), ("q", "alone.m30"), ("q", "alone.m1")
    for now_ms in (0, 20, 40):
        assert gate.let_through([small], [small], now_ms, listed=[large]) == [small]
    assert gate.let_through([large, small], [small], 41) == []
    assert gate.let_through([small], [small], 42, listed=[large]) == [small]


def test_a_claim_that_brings_nothing_opens_the_gate() -> None:
    """What waits in its set cannot be had, in a paused queue for one."""
    gate, large, small = Gate(patience_ms=0), ("q", "alone.m30"), ("q", "alone.m1")
    gate.let_through([large, small], [small], 0)
    assert gate.let_through([large, small], [large, small], 1) == [large]
    gate.passed([large, small])
    assert gate.let_through([large, small], [large, small], 1) == [large]
    gate.passed([large])
    assert gate.let_through([large, small], [large, small], 2) == [large, small]


def test_a_gate_that_another_worker_holds_is_not_held_here(bench: Bench) -> None:
    """Past its patience a set is waited for by one worker of a host; the others go on."""
    gate, large, small = Gate(patience_ms=0), ("q", "alone.m30"), ("q", "alone.m1")
    let_through = gate.let_through([large, small], [small], 1, may_hold=lambda _: False)
    assert (gate.holder, let_through) == (None, [small])
    assert gate.let_through([large, small], [small], 2, may_hold=lambda _: True) == []
    assert HostGate(bench.budget).hold_for(large)
