"""`penstock explain` beside a real worker: it is full, that is named, and then the job starts."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from penstock.broker.requests import BATCH_MAX
from penstock.cli.commands import explain
from penstock.cli.output import Output
from penstock.cli.session import Session
from penstock.config.quota import budget_bytes
from penstock.core.lifecycle import State
from tests.support import memory_app as tasks
from tests.support.command_line import penstock
from tests.support.eventually import eventually
from tests.support.port_worker import PortWorker
from tests.support.supervised import SOON_S, Supervised
from tests.support.worker_process import ROOT

MIB = 2**20


def test_a_full_worker_is_named_until_it_has_room(tmp_path: Path) -> None:
    """With what it has free; the job that holds it ends, and what was explained runs."""
    with Supervised(tmp_path, memory="512MiB") as site:
        site.start_ready(app="tests.support.memory_app:app")
        go = tmp_path / "go"
        call = tasks.wait_for.using(memory="400MiB")
        (first,) = site.enqueue(call.call(str(go), "first"))
        site.wait_attempt(first, lambda _: True, "the first job to begin")
        (second,) = site.enqueue(call.call(str(go), "second"))
        words = ("explain", second.id, "--url", site.url)
        found = penstock(*words, "--json", folder=tmp_path).document
        assert (found["kinds"], found["ahead"], found["starts_in_ms"]) == (["full"], 0, None)
        (worker,) = found["workers"]
        assert (worker["memory_bytes"], worker["free_bytes"]) == (512 * MIB, 112 * MIB)
        assert (worker["slots"], worker["free_slots"], worker["estimated"]) == (4, 3, False)
        told = penstock(*words, folder=tmp_path)
        assert "could hold it, free: 112 MiB of 512 MiB, 3 of 4 slots" in told.out, told
        assert "start  " in told.out
        go.touch()
        (record,) = site.wait_final(second)
        assert record.state is State.COMPLETED
        assert penstock(*words, "--json", folder=tmp_path).document["kinds"] == ["final"]


def test_memory_that_another_worker_of_the_host_has_is_named(tmp_path: Path) -> None:
    """Two workers that may each use the whole machine: what one reserves the other one lacks."""
    all_of_it = budget_bytes() // MIB * MIB
    with Supervised(tmp_path, memory=f"{all_of_it // MIB}MiB") as site:
        for _ in range(2):
            site.start_ready(app="tests.support.memory_app:app")
        go = tmp_path / "go"
        most = all_of_it * 6 // 10 // MIB
        call = tasks.wait_for.using(memory=f"{most}MiB")
        (first,) = site.enqueue(call.call(str(go), "first"))
        site.wait_attempt(first, lambda _: True, "the first job to begin")
        (second,) = site.enqueue(call.call(str(go), "second"))
        words = ("explain", second.id, "--url", site.url)
        found = penstock(*words, "--json", folder=tmp_path).document
        assert found["kinds"] == ["host"], found
        assert sorted(one["obstacles"] for one in found["workers"]) == [["full", "host"], ["host"]]
        assert "that nobody on its host has reserved" in penstock(*words, folder=tmp_path).out
        go.touch()
        (record,) = site.wait_final(second)
        assert record.state is State.COMPLETED


def test_a_queue_at_its_limit_is_named(tmp_path: Path) -> None:
    """With how many run and how many may; the job that runs ends, and what was explained runs."""
    (tmp_path / "penstock.toml").write_text("[queues.default]\nconcurrency = 1\n")
    with Supervised(tmp_path, memory="512MiB") as site:
        site.extra["PYTHONPATH"] = str(ROOT)
        worker = site.start(app="tests.support.memory_app:app", cwd=tmp_path)
        site.wait_health(worker, lambda health: health.ready, "it to be ready")
        go = tmp_path / "go"
        call = tasks.wait_for.using(memory="16MiB")
        (first,) = site.enqueue(call.call(str(go), "first"))
        site.wait_attempt(first, lambda _: True, "the first job to begin")
        (second,) = site.enqueue(call.call(str(go), "second"))
        words = ("explain", second.id, "--url", site.url)
        found = penstock(*words, "--json", folder=tmp_path).document
        assert found["kinds"] == ["limit"], found
        (one,) = found["workers"]
        assert (one["queue_running"], one["queue_limit"], one["obstacles"]) == (1, 1, ["limit"])
        assert "runs 1 of 1 jobs of queue default" in penstock(*words, folder=tmp_path).out
        go.touch()
        (record,) = site.wait_final(second)
        assert record.state is State.COMPLETED


def test_a_quiet_worker_is_named(tmp_path: Path) -> None:
    """Told to be quiet it takes nothing and says so; told to go on it runs the job."""
    with Supervised(tmp_path, memory="512MiB") as site:
        worker = site.start_ready(app="tests.support.memory_app:app")
        worker.signal(signal.SIGTSTP)

        def is_told(*, quiet: bool) -> bool:
            told = [one.capacity.stance for one in site.broker.leases() if one.capacity]
            return any(one is not None and one.is_quiet for one in told) is quiet

        state = worker.report
        eventually(lambda: is_told(quiet=True), within_s=SOON_S, what="it to be quiet", state=state)
        (tmp_path / "go").touch()
        (job,) = site.enqueue(tasks.wait_for.call(str(tmp_path / "go"), "only"))
        words = ("explain", job.id, "--url", site.url)
        found = penstock(*words, "--json", folder=tmp_path).document
        assert (found["kinds"], found["start"]) == (["quiet"], "nobody knows: quiet")
        worker.signal(signal.SIGCONT)
        (record,) = site.wait_final(job)
        assert record.state is State.COMPLETED
        eventually(lambda: is_told(quiet=False), within_s=SOON_S, what="it to go on", state=state)


def test_those_ahead_are_counted_over_all_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more jobs than are looked at there are at least so many."""
    store = PortWorker(tmp_path / "jobs.db")
    store.enqueue_many(BATCH_MAX + 20)
    target = store.enqueue()
    store.enqueue()
    store.close()

    def explained() -> Any:
        told = io.StringIO()
        session = Session(url=store.url, output=Output(as_json=True, stdout=told))
        explain.explain_job(session, target)
        return json.loads(told.getvalue())

    found = explained()
    assert (found["waiting"], found["ahead"]) == (BATCH_MAX + 22, BATCH_MAX + 20)
    assert not found["ahead_at_least"]
    monkeypatch.setattr(explain, "_LOOKED_AT_MAX", BATCH_MAX)
    found = explained()
    assert (found["ahead"], found["ahead_at_least"]) == (BATCH_MAX, True)


def test_queues_and_doctor_tell_of_jobs_that_nobody_can_hold(tmp_path: Path) -> None:
    """A job larger than the only worker is told; a larger worker takes it, and all is quiet."""
    with Supervised(tmp_path, memory="512MiB") as site:
        site.start_ready(app="tests.support.memory_app:app")
        go = tmp_path / "go"
        go.touch()
        (job,) = site.enqueue(tasks.wait_for.using(memory="2GiB").call(str(go), "large"))
        words = ("queues", "--url", site.url)
        (row,) = penstock(*words, "--json", folder=tmp_path).document["queues"]
        assert "the largest worker may reserve 512 MiB" in row["unheld"][0], row
        told = penstock(*words, folder=tmp_path)
        assert "queue default: jobs wait that need more than" in told.out + told.err, told
        found = json.loads(penstock("doctor", "--url", site.url, "--json", folder=tmp_path).out)
        assert row["unheld"][0] in [one["text"] for one in found["findings"]], found
        site.start_ready("--memory", "3GiB", app="tests.support.memory_app:app")
        site.wait_final(job)
        (row,) = penstock(*words, "--json", folder=tmp_path).document["queues"]
        assert row["unheld"] == [], row
