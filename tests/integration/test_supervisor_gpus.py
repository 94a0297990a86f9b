"""GPUs, with a stand-in for the driver's library: leases, shares, what a child sees, retries."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from penstock.core.devices import Device
from penstock.core.job import JobRecord, Reason
from penstock.core.lifecycle import State
from penstock.executors.nvml import NvmlFailed, list_devices
from tests.support import demand_app as tasks
from tests.support.eventually import eventually
from tests.support.fake_nvml import fake_gpus, library
from tests.support.supervised import SOON_S, Supervised

APP = "tests.support.demand_app:app"
GIB = 2**30
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: A device of 24 GiB and one of 8.
TWO = {"GPU_large": 24_576, "GPU_small": 8_192}


def with_gpus(folder: Path, **settings: str) -> Supervised:
    """Return a scenario whose workers find `TWO`."""
    site = Supervised(folder, **settings)
    site.extra |= fake_gpus(**TWO)
    return site


def begun(site: Supervised) -> set[str]:
    """Return the names of the jobs that have begun."""
    lines = site.trace.read_text().splitlines() if site.trace.exists() else []
    return {line.split()[0] for line in lines if "begins" in line}


def outcomes(record: JobRecord) -> list[str | None]:
    """Return how its attempts ended."""
    return [one.outcome for one in record.attempts]


def test_devices_are_read_from_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """UUID, memory and name; a device that tells no memory of its own counts as 1 MiB."""
    for name, value in fake_gpus(GPU_a=24_576, GPU_b=0).items():
        monkeypatch.setenv(name, value)
    assert list_devices(str(library())) == (
        Device("GPU-a", 24 * GIB, "Fake GPU of 24576 MiB"),
        Device("GPU-b", 2**20, "Fake GPU of 0 MiB"),
    )
    monkeypatch.setenv("FAKE_NVML_STATUS", "9")
    with pytest.raises(NvmlFailed, match="nvmlInit_v2 answers 9"):
        list_devices(str(library()))
    with pytest.raises(NvmlFailed, match="has no nvmlInit_v2"):
        list_devices("libc.so.6")
    assert list_devices("libnvidia-ml-not-here.so.1") == ()


def test_each_job_sees_the_devices_that_it_holds(tmp_path: Path) -> None:
    """Whole ones belong to one job each; shares fill a device; others wait, or need none."""
    with with_gpus(tmp_path) as site:
        site.start_ready(app=APP)
        go = tmp_path / "go"
        first = tasks.hold.using(gpu=1).call(str(go), "whole")
        jobs = site.enqueue(first)
        eventually(lambda: "whole" in begun(site), within_s=SOON_S, what="the first to begin")
        share = tasks.hold.using(gpu_memory="12GiB")
        jobs += site.enqueue(*(share.call(str(go), f"share{n}") for n in range(3)))
        eventually(lambda: len(begun(site)) == 3, within_s=SOON_S, what="two shares to begin")
        (plain,) = [job.result(timeout=SOON_S) for job in site.enqueue(tasks.tell.call())]
        assert VISIBLE not in plain
        assert len(begun(site)) == 3, "the large device is full"
        go.touch()
        seen = [job.result(timeout=SOON_S) for job in jobs]
        assert seen == ["GPU-small", "GPU-large", "GPU-large", "GPU-large"]


def test_a_child_is_used_again_by_its_task_on_its_device(tmp_path: Path) -> None:
    """What it has loaded is used again; another task's job there finds it gone."""
    with with_gpus(tmp_path, gpus="1", concurrency="1") as site:
        site.start_ready(app=APP)
        same, other = tasks.tell.using(gpu=1), tasks.tell_again.using(gpu=1)
        found = [
            site.enqueue(call)[0].result(timeout=SOON_S)
            for call in (same.call(), tasks.tell.call(), same.call(), other.call(), same.call())
        ]
        first, plain, again, another, last = (one["pid"] for one in found)
        assert first == again != plain
        assert len({first, plain, another, last}) == 4
        assert [one.get(VISIBLE) for one in found] == [
            "GPU-small", None, "GPU-small", "GPU-small", "GPU-small"
        ]  # fmt: skip


def test_a_device_is_given_on_once_its_last_child_is_gone(tmp_path: Path) -> None:
    """Also where the child is just ending, and takes its time."""
    with with_gpus(tmp_path, gpus="1", concurrency="1", child_jobs_max="1") as site:
        site.start_ready(app=APP)
        (first,) = site.enqueue(tasks.stay.using(gpu=1).call())
        pid = first.result(timeout=SOON_S)
        (second,) = site.enqueue(tasks.is_there.using(gpu=1).call(pid))
        assert second.result(timeout=SOON_S) is False


def test_a_share_that_was_too_small_grows(tmp_path: Path) -> None:
    """By half, and by half of that; without a share nothing can grow, and it is the job's error."""
    with with_gpus(tmp_path) as site:
        site.start_ready(app=APP)
        run_out = tasks.run_out.using(gpu_memory="6GiB")
        grows, ends, without = site.wait_final(
            *site.enqueue(run_out.call(2), run_out.call(99), tasks.run_out.call(99))
        )
        assert grows.state is State.COMPLETED, grows
        assert outcomes(grows) == ["out_of_memory", "out_of_memory", "succeeded"], grows
        assert grows.charges.gpu_memory_bytes == round(6 * GIB * 2.25), grows
        assert (ends.state, ends.reason) == (State.DEAD, Reason.OUT_OF_MEMORY), ends
        assert ends.charges.errors == 0, ends
        text = str(ends.attempts[-1].error)
        assert "it was given 13,824 MiB of GPU GPU-large" in text, text
        assert ends.attempts[0].usage is not None
        assert ends.attempts[0].usage.evidence == "it raised OutOfMemoryError"
        assert (without.state, without.reason) == (State.DEAD, Reason.RETRIES_EXHAUSTED), without
        assert without.charges.errors == 2, without
        assert "gpu_memory=... sets a part aside" in str(without.attempts[-1].error)


def test_what_no_device_can_hold_is_too_large(tmp_path: Path) -> None:
    """The last attempt has all of the largest device: alone there, and it is not enough.

    Each attempt has a child of its own, and no other is made: the one before holds what it got.
    """
    with with_gpus(tmp_path) as site:
        worker = site.start_ready(app=APP)
        share, whole = site.wait_final(
            *site.enqueue(
                tasks.run_out.using(gpu_memory="20GiB").call(99),
                tasks.run_out.using(gpu=1).call(99),
            )
        )
        assert (share.state, share.reason) == (State.DEAD, Reason.TOO_LARGE), share
        assert outcomes(share) == ["out_of_memory"] * 2, share
        assert share.charges.gpu_memory_bytes == 24 * GIB, share
        # 8 GiB, then the larger device by itself.
        assert (whole.state, whole.reason) == (State.DEAD, Reason.TOO_LARGE), whole
        assert outcomes(whole) == ["out_of_memory"] * 2, whole
        assert len(re.findall(r"child \d+ is ready", worker.log())) == 4, worker.log()


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A worker that is told of one does not start; a driver that fails is told, and is none."""
    with with_gpus(tmp_path, gpus="0,2") as site:
        worker = site.start("--burst", app=APP)
        assert worker.wait_exit(SOON_S) == 78
        assert "gpus names device 2, and the driver knows 2" in worker.log(), worker.report()
        site.extra["FAKE_NVML_STATUS"] = "9"
        worker = site.start("--burst", app=APP, gpus="all")
        assert worker.wait_exit(SOON_S) == 0
        assert "this worker has no GPUs: nvmlInit_v2 answers 9" in worker.log(), worker.report()


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("2,0", "GPU-c,GPU-a"),
        ("0,2", "GPU-a,GPU-c"),
        ("GPU-b,GPU-c", "GPU-b,GPU-c"),
        ("GPU-c,GPU-b", "GPU-c,GPU-b"),
        ("1", None),
        ("", None),
        ("-1", None),
    ],
)
def test_jobs_have_the_devices_that_the_worker_may_see(
    tmp_path: Path, visible: str, seen: str | None
) -> None:
    """Numbers or UUIDs, in their order; where none is left jobs for a GPU wait, and others run."""
    with Supervised(tmp_path) as site:
        site.extra |= fake_gpus(GPU_a=8_192, GPU_b=24_576, GPU_c=16_384) | {VISIBLE: visible}
        both, plain = site.enqueue(tasks.tell.using(gpu=2).call(), tasks.tell.call())
        worker = site.start("--burst", app=APP)
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        assert plain.result(timeout=SOON_S)[VISIBLE] == visible
        if seen is None:
            assert both.status() is State.QUEUED
        else:
            assert both.result(timeout=SOON_S)[VISIBLE] == seen


def test_a_device_that_the_worker_may_not_see_is_refused(tmp_path: Path) -> None:
    """Whoever started it gave that device to somebody else."""
    with with_gpus(tmp_path) as site:
        site.extra[VISIBLE] = "GPU-small"
        worker = site.start("--burst", "--gpus", "0,1", app=APP)
        assert worker.wait_exit(SOON_S) == 78
        assert "gpus names device 0, which CUDA_VISIBLE_DEVICES hides" in worker.log()


def test_numbers_that_cuda_may_count_otherwise_are_told(tmp_path: Path) -> None:
    """It counts faster devices first, unless it is told not to; of one model all are alike."""
    log = []
    with with_gpus(tmp_path) as site:
        for more in ({VISIBLE: "0"}, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, {VISIBLE: "GPU-small"}):
            site.extra |= more
            worker = site.start("--burst", app=APP)
            assert worker.wait_exit(SOON_S) == 0, worker.report()
            log.append("CUDA_DEVICE_ORDER=PCI_BUS_ID" in worker.log())
    assert log == [True, False, False]


def test_two_workers_of_a_host_do_not_share_a_whole_device(tmp_path: Path) -> None:
    """What a job of one has, jobs of the other wait for; it has it until it ends, or dies."""
    with with_gpus(tmp_path, gpus="1", concurrency="1") as site:
        first = site.start_ready(app=APP)
        held, waiting = tasks.hold.using(gpu=1), tmp_path / "never"
        (job,) = site.enqueue(held.call(str(waiting), "first"))
        eventually(lambda: "first" in begun(site), within_s=SOON_S, what="the first to begin")
        site.start_ready(app=APP)
        (other,) = site.enqueue(tasks.tell.using(gpu=1).call())
        (plain,) = site.wait_final(*site.enqueue(tasks.tell.call()))
        assert plain.state is State.COMPLETED, plain
        assert other.status() is State.QUEUED
        first.signal(signal.SIGKILL)
        assert other.result(timeout=SOON_S)[VISIBLE] == "GPU-small"
        assert job.status() is not State.COMPLETED
