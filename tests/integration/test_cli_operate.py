"""`penstock cancel`, `requeue`, `purge`, `enqueue`, `config` and `doctor` on a real file."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.ids import JobId
from penstock.core.lifecycle import State
from tests.support.command_line import PENSTOCK, environment, penstock
from tests.support.port_worker import PortWorker

UNKNOWN = "0" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PortWorker]:
    """Two queues on one file; the test fills them."""
    worker = PortWorker(tmp_path / "jobs.db", "default", "mail")
    yield worker
    worker.close()


def state_of(store: PortWorker, job: JobId) -> State | None:
    """Return the state of a job, None if it is gone."""
    [status] = store.broker.peek([job])
    return None if status is None else status.state


def test_cancel_answers_for_each_job(store: PortWorker, tmp_path: Path) -> None:
    """A waiting job is cancelled, a running one asked; final and unknown ones change the code."""
    running, waiting = store.enqueue(), store.enqueue()
    store.claim()
    words = ("--json", "--url", store.url)
    ended = penstock("cancel", running, waiting, *words, folder=tmp_path)
    assert ended.code == 0
    assert ended.document == {
        "jobs": [{"id": running, "answer": "requested"}, {"id": waiting, "answer": "cancelled"}]
    }
    assert state_of(store, waiting) is State.CANCELLED
    again = penstock("cancel", waiting, *words, folder=tmp_path)
    assert (again.code, again.document["jobs"][0]["answer"]) == (4, "too_late")
    both = penstock("cancel", waiting, UNKNOWN, "--url", store.url, folder=tmp_path)
    assert both.code == 3
    assert "not found" in both.out


def test_requeue_by_id(store: PortWorker, tmp_path: Path) -> None:
    """A dead job is queued again under its id; a waiting one ends with 4, an unknown one with 3."""
    dead, waiting = store.enqueue(), store.enqueue()
    store.bury()
    ended = penstock("requeue", dead, "--json", "--url", store.url, folder=tmp_path)
    assert (ended.code, ended.document) == (0, {"jobs": [{"id": dead, "answer": "done"}]})
    assert state_of(store, dead) is State.QUEUED
    assert penstock("requeue", waiting, "--url", store.url, folder=tmp_path).code == 4
    assert penstock("requeue", UNKNOWN, "--url", store.url, folder=tmp_path).code == 3


def test_requeue_of_all_dead_jobs_takes_only_those_that_match(
    store: PortWorker, tmp_path: Path
) -> None:
    """--dead with --queue and --task requeues over several batches, and leaves the others."""
    count = 450
    for _ in range(count):
        store.enqueue("shop.send")
    other_task, other_queue = store.enqueue("shop.pack"), store.enqueue(queue="mail")
    for _ in range(count + 2):
        store.bury()
    words = ("requeue", "--dead", "--queue", "default", "--task", "shop.send")
    ended = penstock(*words, "--json", "--url", store.url, folder=tmp_path)
    assert ended.document == {"requeued": count}
    assert state_of(store, other_task) is State.DEAD
    assert state_of(store, other_queue) is State.DEAD
    [counts] = [c for c in store.broker.counts() if c.queue == "default"]
    assert (counts.queued, counts.dead) == (count, 1)


@pytest.mark.parametrize(
    "words", [(), (UNKNOWN, "--dead"), (UNKNOWN, "--queue", "default"), ("--task", "x")]
)
def test_requeue_of_nothing_or_both_is_refused(
    store: PortWorker, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Ids and --dead exclude each other, and filters go with --dead alone."""
    assert penstock("requeue", *words, "--url", store.url, folder=tmp_path).code == 2


def purge(store: PortWorker, folder: Path, answer: str) -> tuple[int, str]:
    """Run `purge --state completed` of the default queue on a terminal and type `answer`."""
    ours, theirs = pty.openpty()
    words = ["purge", "--queue", "default", "--state", "completed", "--url", store.url]
    with subprocess.Popen(
        [PENSTOCK, *words],
        cwd=folder,
        env=environment(folder),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(ours)
    return process.returncode, out + err


def test_purge_asks_for_the_name_of_the_queue(store: PortWorker, tmp_path: Path) -> None:
    """Only the typed name of the queue lets purge forget jobs; other queues and states stay."""
    done, dead = store.enqueue(), store.enqueue()
    store.complete()
    store.bury()
    code, said = purge(store, tmp_path, "y")
    assert code == 4
    assert "This forgets 1 completed job of queue default" in said
    assert state_of(store, done) is State.COMPLETED
    code, said = purge(store, tmp_path, "default")
    assert (code, "1 job of queue default purged" in said) == (0, True)
    assert state_of(store, done) is None
    assert state_of(store, dead) is State.DEAD


def test_purge_without_a_terminal_needs_yes(store: PortWorker, tmp_path: Path) -> None:
    """In a script purge refuses with 4 unless --yes is given, whatever stands on stdin."""
    store.enqueue()
    store.complete()
    words = ("purge", "--queue", "default", "--state", "completed", "--json", "--url", store.url)
    refused = penstock(*words, folder=tmp_path, stdin="default\n")
    assert (refused.code, refused.error["kind"]) == (4, "Declined")
    assert penstock(*words, "--yes", folder=tmp_path).document == {"queue": "default", "purged": 1}


def test_purge_never_touches_jobs_that_are_not_final(store: PortWorker, tmp_path: Path) -> None:
    """A state that is not final is refused with 2, and the jobs stay."""
    job = store.enqueue()
    words = ("purge", "--queue", "default", "--state", "queued", "--yes", "--url", store.url)
    ended = penstock(*words, folder=tmp_path)
    assert ended.code == 2
    assert "state 'queued' is not final" in ended.err
    assert state_of(store, job) is State.QUEUED


def test_doctor_finds_what_is_wrong(store: PortWorker, tmp_path: Path) -> None:
    """A queue with jobs and no worker, and a dead job, are found; served queues are well."""
    store.enqueue()
    store.bury()
    well = penstock("doctor", "--json", "--url", store.url, folder=tmp_path)
    found = {(one["what"], one["state"]) for one in well.document["findings"]}
    assert ("queue default", "warning") in found  # the dead job
    assert well.document["broker"]["kind"] == "sqlite"
    [worker] = well.document["workers"]
    assert worker["worker"] == "port@1-abc"
    assert worker["queues"] == ["default", "mail"]
    store.enqueue()
    store.broker.close_leases([store.lease])
    ended = penstock("doctor", "--url", store.url, folder=tmp_path)
    assert ended.code == 1
    assert "1 job waits and no worker serves it" in ended.out


def test_doctor_says_who_keeps_memory_limits(store: PortWorker, tmp_path: Path) -> None:
    """The kernel or the watch, and a watch that was asked for is a warning with its reason."""
    asked = {"PENSTOCK_CGROUPS": "off", "PENSTOCK_URL": store.url}
    findings = penstock("doctor", "--json", folder=tmp_path, env=asked).document["findings"]
    [memory] = [one for one in findings if one["what"] == "memory"]
    assert memory["state"] == "warning"
    assert "watched only: cgroups is off" in memory["text"]
    findings = penstock("doctor", "--json", "--url", store.url, folder=tmp_path).document[
        "findings"
    ]
    [memory] = [one for one in findings if one["what"] == "memory"]
    assert memory["text"].startswith(("the kernel enforces", "limits are watched only: "))


def test_doctor_of_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    """A database that does not exist is a problem with exit code 1, and is not made by looking."""
    file = tmp_path / "none.db"
    ended = penstock("doctor", "--json", "--url", f"sqlite:///{file}", folder=tmp_path)
    assert ended.code == 1
    assert [one["state"] for one in ended.document["findings"]][-1] == "problem"
    assert not file.exists()


def test_config_names_the_origin_of_each_value(tmp_path: Path) -> None:
    """Flag, variable, file and default are told apart, and a password is masked."""
    (tmp_path / "penstock.toml").write_text('lease_ttl = "20s"\nprocesses = 3\n')
    env = {"PENSTOCK_PROCESSES": "4", "PENSTOCK_URL": "redis://u:hunter2@h/0"}
    ended = penstock("config", "--json", folder=tmp_path, env=env)
    values = {one["name"]: one for one in ended.document["settings"]}
    assert (values["lease_ttl"]["value"], values["lease_ttl"]["unit"]) == (20_000, "ms")
    assert values["lease_ttl"]["origin"] == str(tmp_path / "penstock.toml")
    assert (values["processes"]["value"], values["processes"]["origin"]) == (
        4,
        "PENSTOCK_PROCESSES",
    )
    assert values["coroutines"]["origin"] == "default"
    assert "hunter2" not in ended.out
    flag = penstock("config", "--url", "sqlite:///x.db", folder=tmp_path, env=env)
    line = next(line for line in flag.out.splitlines() if line.startswith("url "))
    assert line.split() == ["url", "sqlite:///x.db", "--url", "PENSTOCK_URL"]


def test_numbers_agree_with_their_nouns(store: PortWorker, tmp_path: Path) -> None:
    """One dead job is a job, two are jobs."""
    for count, words in ((1, "1 dead job requeued"), (2, "2 dead jobs requeued")):
        jobs = [store.enqueue() for _ in range(count)]
        for _ in jobs:
            store.bury()
        ended = penstock("requeue", "--dead", "--url", store.url, folder=tmp_path)
        assert ended.out.strip() == words
        store.broker.cancel(jobs)


def test_worker_refuses_a_module_that_is_not_there(tmp_path: Path) -> None:
    """A wrong module, a file's name and a wrong option end at once with 2 and the way out."""
    for words, part in (
        (("nowhere:app",), "module 'nowhere' of app 'nowhere:app' is not found"),
        (("shop.py",), "for a file that is shop:app"),
        (("shop", "--concurrency", "0"), "not a whole number from 1"),
        (("shop", "--url", "memory://"), "in the memory of one process"),
    ):
        ended = penstock("worker", *words, folder=tmp_path)
        assert ended.code == 2, ended
        assert part in ended.err
