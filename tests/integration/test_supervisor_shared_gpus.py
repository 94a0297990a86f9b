"""Several workers of one host on one GPU: what its jobs have together is never more than it has."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from penstock.core.lifecycle import State
from penstock.job import Job
from tests.support import demand_app as tasks
from tests.support.eventually import eventually
from tests.support.fake_nvml import fake_gpus
from tests.support.supervised import SOON_S, Supervised

APP = "tests.support.demand_app:app"
MIB_OF_ALL = 16_384


def with_one(folder: Path) -> Supervised:
    """Return a scenario whose workers find one device of 16 GiB."""
    site = Supervised(folder, concurrency="2")
    site.extra |= fake_gpus(GPU_one=MIB_OF_ALL)
    return site


def begun(site: Supervised) -> set[str]:
    """Return the names of the jobs of `hold` that have begun."""
    return {line[0] for line in site.lines() if "begins" in line}


def uses(site: Supervised, jobs: list[Job[str]]) -> tuple[dict[str, int], set[str]]:
    """Return the most MiB of each device that jobs of `use` had at once, and who ran them."""
    for record in site.wait_final(*jobs):
        assert record.state is State.COMPLETED, site.report(*jobs)
    now: Counter[str] = Counter()
    most: dict[str, int] = {}
    lines = [line for line in site.lines() if line[0] in {"uses", "leaves"}]
    for word, _, seen, mib, _ in lines:
        now[seen] += int(mib) if word == "uses" else -int(mib)
        most[seen] = max(most.get(seen, 0), now[seen])
    return most, {line[1] for line in lines}


def test_workers_of_a_host_share_a_device(tmp_path: Path) -> None:
    """A job of each has its part of it at the same time; a third finds no room, until one ends."""
    with with_one(tmp_path) as site:
        share, go = tasks.hold.using(gpu_memory="6GiB"), [tmp_path / f"go{n}" for n in range(3)]
        site.start_ready(app=APP, concurrency="1")
        jobs = site.enqueue(share.call(str(go[0]), "first"))
        eventually(lambda: "first" in begun(site), within_s=SOON_S, what="the first to begin")
        site.start_ready(app=APP)
        jobs += site.enqueue(share.call(str(go[1]), "second"))
        eventually(lambda: "second" in begun(site), within_s=SOON_S, what="the second to begin")
        jobs += site.enqueue(share.call(str(go[2]), "third"))
        # It looks at the ready sets from the first to the last of these jobs.
        for _ in range(3):
            site.wait_final(*site.enqueue(tasks.tell.call()))
        assert begun(site) == {"first", "second"}
        go[0].touch()
        eventually(lambda: "third" in begun(site), within_s=SOON_S, what="the third to begin")
        for one in go:
            one.touch()
        assert [job.result(timeout=SOON_S) for job in jobs] == ["GPU-one"] * 3


@pytest.mark.parametrize("mib", [[10_240], [6_144], [10_240, 6_144, 3_072]])
def test_shares_of_two_workers_stay_within_the_device(tmp_path: Path, mib: list[int]) -> None:
    """Whoever comes first and whatever ends meanwhile."""
    with with_one(tmp_path) as site:
        for _ in range(2):
            site.start_ready(app=APP)
        jobs = site.enqueue(
            *(
                tasks.use.using(gpu_memory=size << 20).call(f"{n}", size, 0.05)
                for n in range(4)
                for size in mib
            )
        )
        most, _ = uses(site, jobs)
        assert most.keys() == {"GPU-one"}
        assert most["GPU-one"] <= MIB_OF_ALL


def test_a_whole_device_has_one_job_in_all_workers(tmp_path: Path) -> None:
    """Never two at once, and never beside one with a share."""
    with with_one(tmp_path) as site:
        for _ in range(2):
            site.start_ready(app=APP)
        whole = tasks.use.using(gpu=1)
        share = tasks.use.using(gpu_memory="4GiB")
        calls = [whole.call(f"whole{n}", MIB_OF_ALL, 0.05) for n in range(4)]
        calls += [share.call(f"share{n}", 4_096, 0.05) for n in range(8)]
        most, _ = uses(site, site.enqueue(*calls[::2], *calls[1::2]))
        assert most.keys() == {"GPU-one"}
        assert most["GPU-one"] <= MIB_OF_ALL


def test_workers_that_see_other_devices_share_those_of_both(tmp_path: Path) -> None:
    """A device is known by its UUID, whatever its number is for a worker."""
    with with_one(tmp_path) as site:
        site.extra |= fake_gpus(GPU_a=MIB_OF_ALL, GPU_b=MIB_OF_ALL)
        for visible in ("1", "GPU-b,GPU-a", "0,1"):
            site.extra["CUDA_VISIBLE_DEVICES"] = visible
            site.start_ready(app=APP)
        calls = [tasks.use.using(gpu=1).call(f"{n}", MIB_OF_ALL, 0.05) for n in range(8)]
        calls += [tasks.use.using(gpu_memory="9GiB").call(f"s{n}", 9_216, 0.05) for n in range(8)]
        most, _ = uses(site, site.enqueue(*calls[::2], *calls[1::2]))
        assert most.keys() <= {"GPU-a", "GPU-b"}
        assert max(most.values()) <= MIB_OF_ALL


def test_the_shares_of_a_killed_worker_are_free(tmp_path: Path) -> None:
    """Nobody has to be told: the next look finds that it is gone."""
    with with_one(tmp_path) as site:
        first = site.start_ready(app=APP)
        never = str(tmp_path / "never")
        (lost,) = site.enqueue(tasks.hold.using(gpu_memory="10GiB").call(never, "lost"))
        eventually(lambda: "lost" in begun(site), within_s=SOON_S, what="the first to begin")
        site.start_ready(app=APP)
        (whole,) = site.enqueue(tasks.use.using(gpu=1).call("whole", MIB_OF_ALL, 0.0))
        (plain,) = site.wait_final(*site.enqueue(tasks.tell.call()))
        assert plain.state is State.COMPLETED, plain
        assert whole.status() is State.QUEUED
        first.signal(signal.SIGKILL)
        assert whole.result(timeout=SOON_S) == "GPU-one"
        assert lost.status() is not State.COMPLETED


def test_an_idle_child_makes_room_for_the_job_of_another_worker(tmp_path: Path) -> None:
    """It keeps what it has loaded until somebody needs the room that its own worker cannot use."""
    with with_one(tmp_path) as site:
        first = site.start_ready(app=APP, concurrency="1")
        whole, go = tasks.use.using(gpu=1), tmp_path / "go"
        (job,) = site.enqueue(whole.call("before", MIB_OF_ALL, 0.0))
        assert job.result(timeout=SOON_S) == "GPU-one"
        (busy,) = site.enqueue(tasks.hold.call(str(go), "busy"))
        eventually(lambda: "busy" in begun(site), within_s=SOON_S, what="the first to be busy")
        site.start_ready(app=APP)
        (after,) = site.enqueue(whole.call("after", MIB_OF_ALL, 0.0))
        assert after.result(timeout=SOON_S) == "GPU-one"
        _, workers = uses(site, [job, after])
        assert len(workers) == 2
        assert busy.status() is State.RUNNING
        go.touch()
        assert first.exit_code is None
