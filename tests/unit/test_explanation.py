"""`penstock explain`: what is said to stand in a job's way does, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.cli.explanation import Explanation, Scene, explain
from penstock.cli.findings import of_needs, of_stances
from penstock.core.capacity import Capacity, Stance
from penstock.core.demand import Demand, need_with
from penstock.core.footprint import Run, size_bucket, tally_of
from penstock.core.ids import JobId, LeaseId
from penstock.core.job import AttemptRecord, Charges, JobRecord, JobSpec, Reason
from penstock.core.lifecycle import State
from penstock.core.need import learned_need, sized_need
from penstock.core.pace import pace_sums

MIB = 2**20
GIB = 2**30
NOW = 1_790_000_000_000


def lease(worker: str, memory: int | None, queue: str = "q") -> r.LeaseFacts:
    """Return the lease of a living worker."""
    return r.LeaseFacts(
        id=LeaseId("a" * 32),
        queues=(queue,),
        owner=r.Owner(worker, "here", "boot", 1, 2, 3),
        expires_in_ms=1_000,
        running=0,
        capacity=None if memory is None else Capacity(memory_bytes=memory),
    )


def scene(
    *leases: r.LeaseFacts,
    need: str = "shared",
    paused: bool = False,
    footprint: dict[str, float] | None = None,
    spec: dict[str, Any] | None = None,
    others: Sequence[JobRecord] = (),
    **record: Any,
) -> Explanation:
    """Explain a job among these workers."""
    whole = JobSpec(task="t", payload=msgspec.Raw(b"{}"), need=need, **(spec or {}))
    job = JobRecord(
        **{"id": JobId("1" * 32), "queue": "q", "spec": whole, "state": State.QUEUED,
           "enqueued_at": NOW, **record}
    )  # fmt: skip
    counts = r.QueueCounts(queue="q", queued=3, paused=paused)
    return explain(
        Scene(
            record=job,
            counts=counts,
            leases=leases,
            footprints={"t": footprint or {}},
            now_ms=NOW,
            running=others,
        )
    )


def test_nothing_stands_in_the_way_of_a_light_job() -> None:
    """Any worker of its queue may take it."""
    found = scene(lease("w", GIB))
    assert found.blockers == ()
    assert [(one.worker, one.holds) for one in found.workers] == [("w", True)]
    assert (found.reservation_bytes, found.waiting) == (None, 3)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"state": State.DEAD, "reason": Reason.POISON}, "dead (poison)"),
        ({"state": State.COMPLETED}, "it is completed"),
        ({"state": State.BLOCKED, "parents_left": 2}, "2 parents are not final"),
        ({"state": State.SCHEDULED, "due_at": NOW + 90_000}, "in 1 min 30 s"),
        ({"state": State.RETRYING, "due_at": NOW + 1_000}, "it is due"),
        (
            {"state": State.RUNNING, "attempts": (AttemptRecord(1, "w", 77, NOW),)},
            "it runs in pid 77 of w",
        ),
    ],
)
def test_a_state_is_a_reason(record: dict[str, Any], words: str) -> None:
    """A job that is not queued waits for what its state says."""
    (blocker,) = scene(lease("w", GIB), **record).blockers
    assert words in blocker


def test_what_no_worker_has_is_named() -> None:
    """The job says what it takes, each worker what it lacks; one that has all of it is enough."""
    need = "takes.c2000.leu:alone.m3"
    poor, rich = lease("poor", GIB), lease("rich", GIB)
    has = Capacity(memory_bytes=GIB, cpus_milli=2000, labels=("eu",))
    rich = msgspec.structs.replace(rich, capacity=has)
    found = scene(poor, need=need)
    assert found.needs.endswith("and 2 CPUs, label eu"), found
    (blocker,) = found.blockers
    assert "poor lacks label eu, 2 CPUs (it has none to count): see the options" in blocker
    both = scene(poor, rich, need=need)
    assert [(one.holds, one.lacks) for one in both.workers] == [
        (False, "label eu, 2 CPUs (it has none to count)"),
        (True, None),
    ]
    assert both.blockers == ()


def test_a_full_worker_is_told_with_what_it_is_short_of() -> None:
    """CPUs and counted resources as well as slots and memory; what it has not at all, all of it."""
    worker = lease("w", GIB)
    has = Capacity(memory_bytes=GIB, slots=4, cpus_milli=1000, resources={"lic": 2})
    worker = msgspec.structs.replace(worker, capacity=has)
    need = "takes.c1000.r2-lic:alone"
    record = running(1, "w", None)
    busy = msgspec.structs.replace(record, spec=msgspec.structs.replace(record.spec, need=need))
    (blocker,) = scene(worker, need=need, others=[busy]).blockers
    assert "0 of 1 CPUs" in blocker
    assert "0 of 2 lic" in blocker
    (blocker,) = scene(worker, need="takes.c64000.leu.r3-lic.g1:alone").blockers
    for lack in ("label eu", "3 of lic (it has 2)", "64 CPUs (it has 1)", "GPUs"):
        assert lack in blocker


def test_doctor_tells_of_jobs_that_take_what_nobody_has() -> None:
    """One finding for each that is lacking, with the options that mend it."""
    needs = {"q": ["takes.g1:alone", "takes.c1000:alone", "takes.newer:alone", "alone"]}
    worker = lease("w", GIB)
    capacity = Capacity(memory_bytes=GIB, cpus_milli=1000)
    worker = msgspec.structs.replace(worker, capacity=capacity)
    (found,) = of_needs(needs, [worker], frozenset())
    assert (found.state, found.what) == ("problem", "queue q")
    assert "take 1 GPU, and no live worker has that" in found.text


def test_a_paused_queue_and_a_queue_without_workers() -> None:
    """Both are said, with the way out."""
    paused, nobody = scene(lease("w", GIB, queue="other"), paused=True).blockers
    assert "penstock queues resume q" in paused
    assert "no live worker serves queue q" in nobody


def test_what_no_worker_can_hold_is_said() -> None:
    """With what it needs, and the most that there is; a larger worker takes it away."""
    need, spec = sized_need(3 * GIB), {"memory_bytes": 3 * GIB}
    (blocker,) = scene(lease("a", GIB), lease("b", 2 * GIB), need=need, spec=spec).blockers
    assert "3 GiB" in blocker
    assert "2 GiB" in blocker
    assert scene(lease("a", GIB), lease("b", 3 * GIB), need=need, spec=spec).blockers == ()


def test_a_worker_that_does_not_say_may_hold_it() -> None:
    """One of an older release is not ruled out."""
    found = scene(lease("old", None), need="alone.m40", spec={"memory_bytes": 90 * GIB})
    assert found.blockers == ()
    assert found.workers[0].holds is None


def test_where_a_need_comes_from_is_said() -> None:
    """Declared, enlarged, learned, or nothing known yet."""
    assert "as its call says" in scene(need="alone.m1", spec={"memory_bytes": 20 * MIB}).needs
    enlarged = scene(need="alone.m1", charges=Charges(ooms=1, memory_bytes=30 * MIB))
    assert "1 attempt that ran out of memory" in enlarged.needs
    assert enlarged.reservation_bytes == 30 * MIB
    assert "as its task says" in scene(need="alone.m1").needs
    assert "nothing is declared" in scene(need="alone").needs
    sums: dict[str, float] = {}
    for _ in range(3):
        for name, amount in tally_of(Run(100 * MIB, 5.0, NOW)).items():
            sums[name] = sums.get(name, 0.0) + amount
    need = learned_need("t", size_bucket(5.0))
    learned = scene(need=need, spec={"size": 5.0}, footprint=sums)
    assert "learned from 3 runs of about its size" in learned.needs
    assert 125 * MIB <= (learned.reservation_bytes or 0) <= 135 * MIB
    near = scene(need=learned_need("t", size_bucket(7.0)), spec={"size": 7.0}, footprint=sums)
    assert "learned from 3 runs of about its size and the nearest" in near.needs
    assert "too few runs" in scene(need=need, spec={"size": 5.0}).needs


def test_doctor_tells_of_workers_that_hold_something_back() -> None:
    """Once for each, and not of those that are dead."""
    has = Capacity(stance=Stance(is_quiet=True, is_pressed=True))
    held = msgspec.structs.replace(lease("w", GIB), capacity=has)
    quiet, pressed = of_stances([lease("w", GIB), held], frozenset())
    assert (quiet.state, "w takes nothing" in quiet.text) == ("warning", True)
    assert "memory is short on here" in pressed.text
    assert not list(of_stances([held, lease("old", None)], frozenset({"w"})))


def test_doctor_tells_of_jobs_that_nobody_can_hold() -> None:
    """Only where every worker of the queue says what it has, and none has enough."""
    needs = {
        "q": ("shared", sized_need(5 * GIB), sized_need(GIB // 2)),
        "r": (sized_need(9 * GIB),),
    }
    (found,) = of_needs(needs, [lease("a", GIB), lease("b", 2 * GIB)], frozenset())
    assert found.state == "problem"
    assert "2 GiB" in found.text
    assert not list(of_needs(needs, [lease("a", GIB), lease("c", 8 * GIB)], frozenset()))
    assert not list(of_needs(needs, [lease("a", GIB), lease("old", None)], frozenset()))
    assert not list(of_needs(needs, [], frozenset()))


def test_doctor_tells_of_jobs_whose_memory_and_gpu_no_worker_has_together() -> None:
    """One worker has the memory, the other the GPU; each has what the other set asks for."""
    gpu = msgspec.structs.replace(
        lease("a", GIB), capacity=Capacity(memory_bytes=GIB, gpu_memory_bytes=(8 * GIB,))
    )
    large = lease("b", 8 * GIB)
    fine = [need_with(Demand(gpus=1), sized_need(GIB // 2)), sized_need(5 * GIB)]
    assert not list(of_needs({"q": fine}, [gpu, large], frozenset()))
    both = need_with(Demand(gpus=1), sized_need(5 * GIB))
    (found,) = of_needs({"q": [*fine, both]}, [gpu, large], frozenset())
    assert "take 1 GPU, and no live worker has both" in found.text
    assert "may reserve 1 GiB: penstock worker ... --memory SIZE" in found.text


def running(number: int, worker: str, memory: int | None, since_ms: int = 0) -> JobRecord:
    """Return a job of task t that runs in a child."""
    need = "alone" if memory is None else sized_need(memory)
    spec = JobSpec(task="t", payload=msgspec.Raw(b"{}"), need=need, memory_bytes=memory)
    return JobRecord(
        id=JobId(f"{number:032x}"), queue="q", spec=spec, state=State.RUNNING, enqueued_at=NOW,
        attempts=(AttemptRecord(1, worker, 7, NOW - since_ms),),
    )  # fmt: skip


def waiting(number: int, **more: Any) -> JobRecord:
    """Return a job of 1 GiB that waits."""
    spec = JobSpec(
        task="t", payload=msgspec.Raw(b"{}"), need=sized_need(GIB), memory_bytes=GIB, **more
    )
    return JobRecord(
        id=JobId(f"{number:032x}"), queue="q", spec=spec, state=State.QUEUED, enqueued_at=NOW
    )


def test_what_is_free_is_the_budget_less_what_runs() -> None:
    """It is called an estimate where a running job declares nothing."""
    lent = [lease("a", 2 * GIB), lease("a", 2 * GIB, queue="r"), lease("b", 2 * GIB)]
    found = explain(
        Scene(
            record=waiting(9), counts=r.QueueCounts(queue="q", queued=1), leases=lent,
            footprints={}, now_ms=NOW,
            running=[running(1, "a", GIB // 2), running(2, "b", None), running(3, "gone", GIB)],
        )
    )  # fmt: skip
    free = {one.worker: (one.free_bytes, one.estimated) for one in found.workers}
    assert free == {"a": (2 * GIB - GIB // 2, False), "b": (2 * GIB - 128 * MIB, True)}
    assert (found.kinds, found.start) == ((), "now, or as soon as a worker looks")


def test_full_workers_are_named_with_those_ahead_and_an_earliest_start() -> None:
    """Two are ahead of it, for a worker with room for one whose job has run for 300 ms."""
    record = waiting(9)
    scene = Scene(
        record=record, counts=r.QueueCounts(queue="q", queued=4), leases=[lease("a", GIB)],
        footprints={}, now_ms=NOW, running=[running(1, "a", GIB, since_ms=300)],
        queued=[waiting(2), waiting(3), record, waiting(4, priority=1)],
    )  # fmt: skip
    found = explain(scene)
    assert found.kinds == ("full", "ahead")
    assert "a has 0 B of 1 GiB free" in found.blockers[0]
    assert (found.ahead, found.ahead_at_least, found.starts_in_ms) == (2, False, None)
    timed = explain(msgspec.structs.replace(scene, runs_ms={"t": 1_000}, is_whole=False))
    assert (timed.starts_in_ms, timed.ahead_at_least) == (2_700, True)
    paused = msgspec.structs.replace(scene, counts=r.QueueCounts(queue="q", paused=True))
    assert explain(paused).kinds == ("paused", "full", "ahead")
    assert "paused" in explain(paused).start


def test_workers_with_a_reason_each_are_one_blocker() -> None:
    """One is full, the other finds the memory of its host taken: the end of either is enough."""
    shared = Capacity(memory_bytes=GIB, pool="host", pool_bytes=GIB)
    lent = [lease("a", GIB), lease("b", GIB), lease("elsewhere", GIB, queue="other")]
    lent[1:] = [msgspec.structs.replace(one, capacity=shared) for one in lent[1:]]
    there = [running(1, "a", GIB), running(2, "elsewhere", GIB // 2)]
    scene = Scene(
        record=waiting(9), counts=r.QueueCounts(queue="q", queued=1), leases=lent, footprints={},
        now_ms=NOW, running=there,
    )  # fmt: skip
    found = explain(scene)
    assert found.kinds == ("full",)
    assert [one.obstacles for one in found.workers] == [("full",), ("host",)]
    assert "b finds 512 MiB of 1 GiB that nobody on its host has reserved" in found.blockers[0]
    found = explain(msgspec.structs.replace(scene, leases=lent[1:]))
    assert found.kinds == ("host",)
    assert found.workers[0].free_bytes == GIB // 2
    there[1] = running(2, "elsewhere", 2 * GIB)
    lent[2] = msgspec.structs.replace(
        lent[2], capacity=msgspec.structs.replace(shared, memory_bytes=2 * GIB, pool_bytes=2 * GIB)
    )
    found = explain(msgspec.structs.replace(scene, leases=lent[1:], running=there))
    assert (found.kinds, found.workers[0].free_bytes) == (("host",), 0)


def test_a_limit_counts_children_and_runners_apart() -> None:
    """Each runner has its share, and one at least; a coroutine takes none of the children's."""
    has = Capacity(memory_bytes=4 * GIB, slots=8, queue_limits={"q": 5, "r": 1}, runners=3)
    assert (has.limit_of("q", is_lone=True), has.limit_of("q", is_lone=False)) == (5, 3)
    assert (has.limit_of("r", is_lone=False), has.limit_of("free", is_lone=True)) == (3, None)
    worker = msgspec.structs.replace(lease("a", GIB), capacity=has)
    light = msgspec.structs.replace(
        running(9, "a", None), spec=JobSpec(task="t", payload=msgspec.Raw(b"{}"), need="shared")
    )

    def kinds(children: int, coroutines: int) -> tuple[str, ...]:
        there = [running(number, "a", 16 * MIB) for number in range(children)]
        there += [
            msgspec.structs.replace(light, id=JobId(f"{50 + n:032x}")) for n in range(coroutines)
        ]
        counts = r.QueueCounts(queue="q", queued=1)
        around = Scene(
            record=waiting(99), counts=counts, leases=[worker], footprints={}, now_ms=NOW,
            running=there,
        )  # fmt: skip
        record = msgspec.structs.replace(light, id=JobId("9" * 32), state=State.QUEUED, attempts=())
        lone = explain(around)
        shared = explain(msgspec.structs.replace(around, record=record))
        return *lone.kinds, "-", *shared.kinds

    assert kinds(4, 2) == ("-",)
    assert kinds(5, 2) == ("limit", "-")
    assert kinds(4, 3) == ("-", "limit")


def test_what_a_worker_holds_back_stands_with_one_of_its_leases() -> None:
    """That of its supervisor; those of its runners say nothing of it. It is told in words."""
    has = Capacity(memory_bytes=4 * GIB, slots=4)
    held = Stance(held_for=("other", "alone.m22"), held_bytes=3 * GIB)
    told = msgspec.structs.replace(has, stance=held)
    lent = [msgspec.structs.replace(lease("a", GIB), capacity=one) for one in (has, told, has)]
    scene = Scene(
        record=waiting(9), counts=r.QueueCounts(queue="q", queued=1), leases=lent, footprints={},
        now_ms=NOW, running=[running(1, "a", 2 * GIB)],
    )  # fmt: skip
    found = explain(scene)
    assert (found.kinds, found.workers[0].obstacles) == (("gate",), ("gate",))
    assert "a keeps itself free for a job of queue other (3 GiB)" in found.blockers[0]
    for stance, kind in ((Stance(is_pressed=True), "pressure"), (Stance(is_quiet=True), "quiet")):
        told = msgspec.structs.replace(has, stance=stance)
        lent[1] = msgspec.structs.replace(lent[1], capacity=told)
        found = explain(msgspec.structs.replace(scene, leases=lent))
        assert (found.kinds, found.start) == ((kind,), f"nobody knows: {kind}")


def test_a_plain_function_needs_a_full_slot_where_its_task_is_long() -> None:
    """By its measured runs, by what a worker found that looked at it, or by its task's own word."""
    sums: dict[str, float] = {}
    for _ in range(5):
        run = pace_sums(2_000.0, 0.0, side_by_side=1, at_ms=NOW)
        sums = {name: sums.get(name, 0.0) + amount for name, amount in run.items()}
    has = Capacity(memory_bytes=GIB, slots=1, light_slots=1, light_runtime_ms=500)
    worker = msgspec.structs.replace(lease("a", GIB), capacity=has)
    plain = JobSpec(task="t", payload=msgspec.Raw(b"{}"), need="thread")
    record = msgspec.structs.replace(waiting(9), spec=plain)
    first = Scene(
        record=record, counts=r.QueueCounts(queue="q", queued=1), leases=[worker],
        footprints={"t": sums}, now_ms=NOW, running=[running(1, "a", 16 * MIB)],
    )  # fmt: skip
    found = explain(first)
    assert found.kinds == ("full",)
    assert "a full one: of 5 runs 95 in 100 lasted up to 2" in found.needs
    assert (found.workers[0].free_slots, found.workers[0].free_light_slots) == (0, 1)
    light = msgspec.structs.replace(has, light_tasks={"t": True})
    said = msgspec.structs.replace(worker, capacity=light)
    found = explain(msgspec.structs.replace(first, leases=[said]))
    assert (found.kinds, "as its task says" in found.needs) == ((), True)
    unknown = msgspec.structs.replace(first, footprints={})
    assert explain(unknown).kinds == ()
    looked = AttemptRecord(1, "a", 7, NOW, NOW, "does_not_fit")
    sent_on = msgspec.structs.replace(record, attempts=(looked,))
    assert explain(msgspec.structs.replace(unknown, record=sent_on)).kinds == ("full",)
    there = msgspec.structs.replace(running(2, "a", None), spec=plain)
    found = explain(msgspec.structs.replace(unknown, running=[*first.running, there]))
    assert found.kinds == ("full",)
    assert "a has 0 of 1 slots and 0 of 1 light slots free" in found.blockers[0]
