"""CPUs, labels and counted resources: jobs start where what they take is there and free."""

from __future__ import annotations

from pathlib import Path

from penstock.core.lifecycle import State
from tests.support import demand_app as tasks
from tests.support.eventually import eventually
from tests.support.release import run_old
from tests.support.supervised import SOON_S, Supervised

APP = "tests.support.demand_app:app"


def begun(site: Supervised) -> set[str]:
    """Return the names of the jobs that have begun."""
    lines = site.trace.read_text().splitlines() if site.trace.exists() else []
    return {line.split()[0] for line in lines if "begins" in line}


def test_a_resource_is_held_by_so_many_jobs_as_there_are_of_it(tmp_path: Path) -> None:
    """Two of three that take a licence run side by side, and others beside them."""
    with Supervised(tmp_path, resources="license=2", cpus="2") as site:
        site.start_ready(app=APP)
        go = tmp_path / "go"
        licensed = tasks.hold.using(resources={"license": 1})
        jobs = site.enqueue(*(licensed.call(str(go), f"licensed{n}") for n in range(3)))
        eventually(lambda: len(begun(site)) == 2, within_s=SOON_S, what="two begin")
        wide = tasks.hold.using(cpus=2)
        jobs += site.enqueue(*(wide.call(str(go), f"wide{n}") for n in range(2)))
        # Whatever else there is room for goes on: one of the two that take both CPUs.
        eventually(lambda: len(begun(site)) == 3, within_s=SOON_S, what="a wide one begins")
        (plain,) = site.wait_final(*site.enqueue(tasks.tell.call()))
        assert plain.state is State.COMPLETED, plain
        assert len(begun(site)) == 3, "neither CPUs nor licences were free"
        go.touch()
        for record in site.wait_final(*jobs):
            assert [one.outcome for one in record.attempts] == ["succeeded"], record


def test_a_job_waits_for_a_worker_with_its_label(tmp_path: Path) -> None:
    """One without it takes other jobs, and ends a burst without it."""
    with Supervised(tmp_path) as site:
        job, plain = site.enqueue(
            tasks.tell.using(requires={"eu"}, memory="64MiB").call(), tasks.tell.call()
        )
        other = site.start("--burst", app=APP)
        other.wait_log("that this worker cannot take", within_s=SOON_S)
        other.wait_exit(SOON_S)
        assert plain.status() is State.COMPLETED
        assert job.status() is State.QUEUED
        site.start_ready(app=APP, labels="us,eu")
        (record,) = site.wait_final(job)
        assert record.state is State.COMPLETED, record


def test_children_compute_with_as_many_threads_as_their_jobs_have_cpus(tmp_path: Path) -> None:
    """A child is used again for jobs with the same number, and what the user set stays."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    with Supervised(tmp_path, cpus="4", concurrency="1") as site:
        site.extra["POLARS_MAX_THREADS"] = "7"
        worker = site.start("--burst", app=APP)
        calls = [tasks.tell.call(), tasks.tell.using(cpus=2.5).call()] * 2
        found = [job.result(timeout=SOON_S) for job in site.enqueue(*calls)]
        worker.wait_exit(SOON_S)
        assert [[one[name] for name in names] for one in found[:2]] == [
            ["1", "1", "1", "7"],
            ["3", "3", "3", "7"],
        ]
        assert [one["pid"] for one in found[:2]] == [one["pid"] for one in found[2:]]


#: Says which of two sets the supervisor of another release would claim from.
TAKES = """
from penstock.worker.supervisor.offers import Offers
offers = Offers(("q",))
print(*(offers.learn({"q": [need]}) for need in ("takes.g1:alone", "alone")))
"""


def test_a_worker_of_the_release_before_leaves_these_jobs_alone() -> None:
    """It knows nothing of GPUs, and would run them without one."""
    done = run_old(TAKES)
    assert done.stdout.split() == ["False", "True"], done.stderr
