"""`penstock jobs`, `job`, `queues` and `dead` against a file whose jobs are in known states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.job import Reason
from penstock.core.usage import Usage
from tests.support.command_line import penstock
from tests.support.port_worker import PortWorker


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PortWorker]:
    """Two queues on one file; the test fills them."""
    worker = PortWorker(tmp_path / "jobs.db", "default", "mail")
    yield worker
    worker.close()


def test_jobs_lists_newest_first_with_every_field(store: PortWorker, tmp_path: Path) -> None:
    """The JSON of `jobs` holds each job with state, task, queue, claims and error."""
    first = store.enqueue("shop.send")
    store.bury(message="no\nmoney")
    second = store.enqueue("shop.pack", queue="mail")
    document = penstock("jobs", "--json", "--url", store.url, folder=tmp_path).document
    assert [job["id"] for job in document["jobs"]] == [second, first]
    assert document["next_before"] is None
    dead = document["jobs"][1]
    assert dead["state"] == "dead"
    assert dead["reason"] == "retries_exhausted"
    assert dead["error"] == "ValueError: no money"
    assert dead["claims"] == 1
    assert document["jobs"][0] | {"enqueued_at": 0} == {
        "id": second,
        "queue": "mail",
        "task": "shop.pack",
        "state": "queued",
        "reason": None,
        "priority": 5,
        "claims": 0,
        "enqueued_at": 0,
        "finished_at": None,
        "error": None,
    }


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 3),
        (("--state", "dead"), 1),
        (("--state", "dead", "--state", "completed"), 2),
        (("--queue", "mail"), 1),
        (("--task", "shop.send"), 2),
        (("--reason", "poison"), 1),
        (("--queue", "nowhere"), 0),
    ],
)
def test_jobs_filters(
    store: PortWorker, tmp_path: Path, words: tuple[str, ...], count: int
) -> None:
    """Each filter narrows the list, and all of them hold together."""
    store.enqueue("shop.send")
    store.enqueue("shop.send")
    store.complete()
    store.bury(reason=Reason.POISON)
    store.enqueue("shop.pack", queue="mail")
    ended = penstock("jobs", "--json", *words, "--url", store.url, folder=tmp_path)
    assert len(ended.document["jobs"]) == count


def test_jobs_pages_without_gap_or_overlap(store: PortWorker, tmp_path: Path) -> None:
    """Following next_before through pages of two shows every job once, newest first."""
    enqueued = [store.enqueue() for _ in range(5)]
    seen: list[str] = []
    before: tuple[str, ...] = ()
    while True:
        page = penstock(
            "jobs", "--json", "--limit", 2, *before, "--url", store.url, folder=tmp_path
        ).document
        seen += [job["id"] for job in page["jobs"]]
        if page["next_before"] is None:
            break
        before = ("--before", page["next_before"])
    assert seen == enqueued[::-1]


def test_tables_hold_whole_lines_in_a_pipe(store: PortWorker, tmp_path: Path) -> None:
    """In a pipe a table has one line per job, uncut, without colour and control characters."""
    job = store.enqueue()
    store.bury(message="\x1b[31mred \a" + "long " * 60)
    ended = penstock("jobs", "--url", store.url, folder=tmp_path, env={"COLUMNS": "40"})
    header, line = ended.out.splitlines()
    assert header.split()[:4] == ["id", "state", "task", "queue"]
    assert line.startswith(f"{job}  dead   shop.send  default")
    assert line.endswith("long long")
    assert "\\x1b[31mred \\x07" in line
    assert "\x1b" not in ended.out


def test_job_shows_everything(store: PortWorker, tmp_path: Path) -> None:
    """The JSON of `job` holds arguments, attempts with process and outcome, and the result."""
    parent = store.enqueue()
    store.complete(b'{"total":3}')
    child = store.enqueue(after=(parent,), delay_ms=3_600_000)
    shown = penstock("job", parent, "--json", "--url", store.url, folder=tmp_path).document
    assert shown["arguments"] == {"n": 7}
    assert shown["result"] == {"total": 3}
    [attempt] = shown["attempts"]
    assert attempt["pid"] == 77
    assert attempt["worker"] == "port@1-abc"
    assert attempt["outcome"] == "succeeded"
    assert attempt["started_at"] <= attempt["ended_at"] == shown["finished_at"]
    other = penstock("job", child, "--json", "--url", store.url, folder=tmp_path).document
    assert other["state"] == "scheduled"
    assert other["parents"] == [{"id": parent, "ignore_failure": False}]
    assert other["due_at"] >= other["enqueued_at"] + 3_600_000


def test_job_for_people_names_attempts_and_errors(store: PortWorker, tmp_path: Path) -> None:
    """Without --json the error of each attempt stands there with its traceback."""
    job = store.enqueue()
    store.bury(message="no money")
    text = penstock("job", job, "--url", store.url, folder=tmp_path).out
    assert f"id         {job}" in text
    assert "reason     retries_exhausted" in text
    assert "attempt 1  failed after" in text
    assert "pid 78 of port@1-abc" in text
    assert "           ValueError: no money" in text


def test_job_tells_what_an_attempt_took(store: PortWorker, tmp_path: Path) -> None:
    """What was measured stands with the attempt: a line for people, fields in --json."""
    measured, other = store.enqueue(), store.enqueue()
    store.complete(usage=Usage(peak_bytes=812 * 2**20, reserved_bytes=2**30, measured="hwm"))
    store.complete()
    text = penstock("job", measured, "--url", store.url, folder=tmp_path).out
    assert "           peak 812 MiB of 1 GiB reserved (by hwm)" in text
    shown = penstock("job", measured, "--json", "--url", store.url, folder=tmp_path).document
    [attempt] = shown["attempts"]
    assert attempt["usage"] == {
        "peak_bytes": 812 * 2**20,
        "reserved_bytes": 2**30,
        "measured": "hwm",
    }
    shown = penstock("job", other, "--json", "--url", store.url, folder=tmp_path).document
    assert shown["attempts"][0]["usage"] is None


def test_job_wait_tells_by_its_exit_code(store: PortWorker, tmp_path: Path) -> None:
    """--wait ends with 0 for a completed job, 1 for a dead one and for one not final in time."""
    done, dead, waiting = store.enqueue(), store.enqueue(), store.enqueue()
    store.complete()
    store.bury()
    ends = [
        penstock("job", job, "--wait", "--timeout", "0.2s", "--url", store.url, folder=tmp_path)
        for job in (done, dead, waiting)
    ]
    assert [end.code for end in ends] == [0, 1, 1]
    assert "is queued after 0.2 s of waiting; it goes on" in ends[2].err


def test_queues_counts_each_state(store: PortWorker, tmp_path: Path) -> None:
    """`queues` tells the broker's counters, and how long the oldest queued job has waited."""
    for _ in range(3):
        store.enqueue()
    store.complete()
    store.bury()
    document = penstock("queues", "--json", "--url", store.url, folder=tmp_path).document
    default, mail = document["queues"]
    assert default["queue"] == "default"
    assert {state: count for state, count in default["states"].items() if count} == {
        "queued": 1,
        "completed": 1,
        "dead": 1,
    }
    assert default["oldest_queued_ms"] >= 0
    assert (mail["queue"], mail["oldest_queued_ms"], mail["paused"]) == ("mail", None, False)


def test_a_paused_queue_gives_nothing_until_resumed(store: PortWorker, tmp_path: Path) -> None:
    """`queues pause` stops claims of that queue, `queues resume` lets them go on."""
    job = store.enqueue()
    where = ("--url", store.url)
    assert penstock("queues", "pause", "default", *where, folder=tmp_path).code == 0
    assert "paused" in penstock("queues", *where, folder=tmp_path).out
    with pytest.raises(ValueError, match="not enough values"):
        store.claim()
    resumed = penstock("queues", "--json", "resume", "default", *where, folder=tmp_path)
    assert resumed.document == {"queue": "default", "paused": False}
    assert store.claim().id == job


def test_pausing_an_unknown_queue_is_refused(store: PortWorker, tmp_path: Path) -> None:
    """A slip in a queue's name ends with 3 and the names that there are."""
    ended = penstock("queues", "pause", "defualt", "--url", store.url, folder=tmp_path)
    assert ended.code == 3
    assert "queue 'defualt' is unknown: use one of the queues of this broker: default, mail" in (
        ended.err
    )


def test_dead_groups_by_reason(store: PortWorker, tmp_path: Path) -> None:
    """`dead` prints a table per reason; its JSON counts all dead jobs and lists them."""
    one, two = store.enqueue(), store.enqueue()
    store.bury(reason=Reason.RETRIES_EXHAUSTED)
    store.bury(reason=Reason.POISON)
    ended = penstock("dead", "--url", store.url, folder=tmp_path)
    lines = [line.split("  ")[0] for line in ended.out.splitlines() if line]
    assert lines == ["poison", "id", two, "retries_exhausted", "id", one]
    only = penstock("dead", "--reason", "poison", "--json", "--url", store.url, folder=tmp_path)
    assert only.document["dead"] == 2
    assert [job["id"] for job in only.document["jobs"]] == [two]


def test_dead_show_refuses_a_job_that_is_not_dead(store: PortWorker, tmp_path: Path) -> None:
    """`dead show` prints a dead job and ends with 4 for any other."""
    dead, alive = store.enqueue(), store.enqueue()
    store.bury()
    assert penstock("dead", "show", dead, "--url", store.url, folder=tmp_path).code == 0
    ended = penstock("dead", "show", alive, "--url", store.url, folder=tmp_path)
    assert ended.code == 4
    assert f"job {alive} is queued, not dead" in ended.err
