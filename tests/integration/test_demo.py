"""The demo on a folder that the test makes: every number of its summary is counted again."""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import psutil
import pytest

from tests.support.command_line import PENSTOCK, environment, penstock
from tests.support.eventually import eventually

# The first test waits for a whole demo, on a machine that may be busy.
pytestmark = pytest.mark.timeout(180)

#: Python files that the test writes; with the two others each is one analysis job.
MODULES = 58

MODULE = '''
"""Module {number}."""

class Shop:
    def sell(self, what):
        return what{padding}

def close(): ...
'''


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `files` of 60 files, and a place for the demo beside it."""
    folder = tmp_path_factory.mktemp("demo")
    files = folder / "files"
    (files / "deep").mkdir(parents=True)
    for number in range(MODULES):
        place = files / "deep" if number % 2 else files
        padding = "\n        pass" * number
        (place / f"m{number:02d}.py").write_text(MODULE.format(number=number, padding=padding))
    (files / "broken.py").write_text("def (:\n")
    (files / "notes.txt").write_text("water water everywhere\n")
    return folder


@pytest.fixture(scope="module")
def told(ground: Path) -> dict[str, Any]:
    """The JSON document of one demo over that folder."""
    into = ground / "out"
    ended = penstock("demo", ground / "files", "--into", into, "--json", folder=ground)
    assert ended.code == 0, f"{ended.err}\n{(into / 'worker.log').read_text()}"
    assert ended.err == ""
    document: dict[str, Any] = ended.document
    return document


@pytest.fixture(scope="module")
def file(told: dict[str, Any]) -> apsw.Connection:
    """The demo's database, opened as somebody would who trusts nobody."""
    return apsw.Connection(told["database"], flags=apsw.SQLITE_OPEN_READONLY)


def rows(file: apsw.Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    return [tuple(row) for row in file.execute(query, values).fetchall()]


def of_task(file: apsw.Connection, name: str, columns: str) -> tuple[Any, ...]:
    """Return columns of the only job of a task."""
    query = f"SELECT {columns} FROM job WHERE task = ?"  # noqa: S608 - columns of this file
    [row] = rows(file, query, f"penstock.demo.tasks.{name}")
    return row


def attempts(file: apsw.Connection, job: str) -> list[tuple[Any, ...]]:
    """Return (number, pid, started_at, ended_at, outcome) of each attempt, the last one's too."""
    earlier = rows(
        file,
        "SELECT number, pid, started_at, ended_at, outcome FROM attempt WHERE job = ?"
        " ORDER BY number",
        job,
    )
    last = rows(
        file, "SELECT claim_number, pid, claimed_at, ended_at, outcome FROM job WHERE id = ?", job
    )
    return earlier + last


def paths(ground: Path) -> list[Path]:
    """Return the files of the folder in the demo's order."""
    return sorted((p for p in (ground / "files").rglob("*") if p.is_file()), key=str)


def test_jobs_and_states_are_those_of_the_file(told: dict[str, Any], file: apsw.Connection) -> None:
    """Jobs and their states are the rows of the file, and the broker's counters agree with them."""
    states = dict(rows(file, "SELECT state, count(*) FROM job GROUP BY state"))
    counters = rows(file, "SELECT state, sum(jobs) FROM counter GROUP BY state HAVING sum(jobs)")
    summary = told["summary"]
    assert summary["jobs"] == sum(states.values()) == MODULES + 2 + 5
    assert summary["states"] == states == dict(counters)
    assert states == {"completed": MODULES + 2 + 4, "dead": 1}


def test_attempts_are_those_of_the_file(told: dict[str, Any], file: apsw.Connection) -> None:
    """Attempts, their outcomes, retried jobs and processes are counted from the file's rows."""
    ids = [job for (job,) in rows(file, "SELECT id FROM job")]
    found = [attempt for job in ids for attempt in attempts(file, job)]
    summary = told["summary"]
    assert summary["attempts"] == len(found)
    assert [(summary["attempts"],)] == rows(file, "SELECT sum(claim_number) FROM job")
    assert summary["outcomes"] == Counter(outcome for *_, outcome in found)
    assert summary["processes"] == len({pid for _, pid, *_ in found})
    assert summary["retried"] == sum(len(attempts(file, job)) > 1 for job in ids)
    [(first, last)] = rows(file, "SELECT min(enqueued_at), max(finished_at) FROM job")
    assert summary["run_ms"] == last - first


def test_the_killed_job_ran_twice_in_different_processes(
    told: dict[str, Any], file: apsw.Connection
) -> None:
    """Two attempts with different pids: the killed runner's, and another that completed the job."""
    job, state, finished_at = of_task(file, "fingerprint", "id, state, finished_at")
    [spec] = of_task(file, "kill_noted", "spec")
    note = json.loads(spec)["payload"]
    first, second = attempts(file, job)
    recovery = told["summary"]["recovery"]
    assert state == "completed"
    assert recovery["job_id"] == note["job_id"] == job
    assert recovery["killed_pid"] == note["pid"] == first[1]
    assert recovery["pids"] == [first[1], second[1]]
    assert first[1] != second[1]
    assert recovery["outcomes"] == [first[4], second[4]] == ["crashed", "succeeded"]
    assert recovery["noticed_ms"] == first[3] - note["killed_at"]
    assert recovery["restarted_ms"] == second[2] - note["killed_at"]
    assert recovery["completed_ms"] == finished_at - note["killed_at"]


def test_the_killed_job_went_on_from_its_checkpoint(
    told: dict[str, Any], file: apsw.Connection, ground: Path
) -> None:
    """The second attempt resumed half way, and its digest is that of an undisturbed run."""
    job, result = of_task(file, "fingerprint", "id, result")
    [(kept,)] = rows(file, "SELECT checkpoint FROM note WHERE job = ?", job)
    digest = ""
    for path in paths(ground):
        digest = hashlib.sha256(digest.encode() + path.read_bytes()).hexdigest()
    assert json.loads(result) == {"done": MODULES + 2, "digest": digest}
    recovery = told["summary"]["recovery"]
    assert recovery["resumed_at"] == json.loads(kept)["done"] == (MODULES + 2) // 2
    assert recovery["files"] == MODULES + 2


def test_only_neighbours_of_the_killed_job_crashed_with_it(
    told: dict[str, Any], file: apsw.Connection
) -> None:
    """Jobs beside the killed one are named; each of them completed in the end."""
    crashed = {job for (job,) in rows(file, "SELECT job FROM attempt WHERE outcome = 'crashed'")}
    summary = told["summary"]
    assert set(summary["neighbours"]) == crashed - {summary["recovery"]["job_id"]}
    for job in summary["neighbours"]:
        found = [outcome for *_, outcome in attempts(file, job)]
        assert [one for one in found if one != "interrupted"] == ["crashed", "succeeded"]


def test_the_failing_jobs_are_told_as_stored(told: dict[str, Any], file: apsw.Connection) -> None:
    """One job failed twice and then succeeded; the other failed three times and is dead.

    A runner may give a job back before it runs it, uncharged, when its slot goes to a child.
    """
    summary = told["summary"]
    for name, outcomes, outcome in (
        ("unsteady", ["failed", "failed", "succeeded"], "completed"),
        ("hopeless", ["failed", "failed", "failed"], "retries_exhausted"),
    ):
        job, state, reason = of_task(file, name, "id, state, reason")
        trouble = summary[name]
        assert trouble["job_id"] == job
        found = [outcome for *_, outcome in attempts(file, job)]
        assert [one for one in found if one != "interrupted"] == outcomes
        assert trouble["attempts"] == len(found)
        assert trouble["errors"] == outcomes.count("failed")
        assert trouble["outcome"] == (reason or state) == outcome
    assert "does-not-exist" in summary["hopeless"]["last_error"]


def test_the_results_are_those_of_the_folder(
    told: dict[str, Any], file: apsw.Connection, ground: Path
) -> None:
    """Sums and tops are those of the folder's files, counted here without the demo's code."""
    report = told["summary"]["report"]
    merge, result = of_task(file, "merge", "id, result")
    assert (told["summary"]["merge_id"], report) == (merge, json.loads(result))
    found = paths(ground)
    assert report["files"] == len(found) == told["files"]
    assert report["bytes"] == sum(path.stat().st_size for path in found)
    assert report["lines"] == sum(len(path.read_text().splitlines()) for path in found)
    assert report["functions"] == 2 * MODULES
    assert report["classes"] == MODULES
    assert report["unparsed"] == 1
    names = dict(report["top_names"])
    assert (names["what"], names["water"]) == (MODULES, 2)
    path, longest = report["longest_functions"][0]
    assert (Path(path).name, longest["name"]) == (f"m{MODULES - 1}.py", "Shop.sell")
    assert report["path"] == told["report"]
    text = Path(told["report"]).read_text()
    assert f"| lines | {report['lines']:,} |" in text


def test_the_merge_job_ran_after_all_analyses(file: apsw.Connection) -> None:
    """The merge job was claimed after the last analysis job had been completed."""
    [claimed_at] = of_task(file, "merge", "claimed_at")
    count, last = of_task(file, "analyse", "count(*), max(finished_at)")
    assert count == MODULES + 2
    assert claimed_at >= last


def test_the_commands_tell_the_same_numbers(told: dict[str, Any], ground: Path) -> None:
    """`queues`, `jobs` and `job` on the demo's database agree with its summary."""
    where = ("--json", "--url", told["url"])
    summary = told["summary"]
    states: Counter[str] = Counter()
    for queue in penstock("queues", *where, folder=ground).document["queues"]:
        states.update(queue["states"])
    assert {state: count for state, count in states.items() if count} == summary["states"]
    listed = penstock("jobs", "--limit", 500, *where, folder=ground).document["jobs"]
    assert len(listed) == summary["jobs"]
    job = penstock("job", summary["recovery"]["job_id"], *where, folder=ground).document
    assert [attempt["pid"] for attempt in job["attempts"]] == summary["recovery"]["pids"]


def test_no_process_of_the_demo_is_left(told: dict[str, Any]) -> None:
    """The worker and all its processes are gone when the demo ends."""
    assert processes_in(Path(told["database"]).parent) == []


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes that work in `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder:
                found.append(shlex.join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def test_the_demo_for_people_says_how_to_check(ground: Path) -> None:
    """Without a terminal it prints plain lines, and each command that it names runs."""
    ended = penstock("demo", ground / "files", folder=ground)
    assert ended.code == 0, ended
    assert "\x1b" not in ended.out
    assert "SIGKILL to runner" in ended.out
    _, _, checks = ended.out.partition("Check every number:\n")
    commands = [line.partition(" penstock ")[2] for line in checks.splitlines()]
    assert commands[6:] == ["", "", ""]  # an empty line, the database, how to remove it
    for command in commands[:6]:
        assert penstock(*shlex.split(command), folder=ground).code == 0, command
    [database] = [
        line.split()[1] for line in ended.out.splitlines() if line.startswith("database  ")
    ]
    assert Path(database).is_absolute()
    assert Path(database).is_file()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_leaves_nothing_behind_but_the_database(
    ground: Path, number: signal.Signals, code: int
) -> None:
    """Ctrl-C or SIGTERM in the middle stops the worker with all its processes; a code tells it."""
    into = ground / f"stopped-{code}"
    with subprocess.Popen(
        [PENSTOCK, "demo", str(ground / "files"), "--into", str(into)],
        cwd=ground,
        env=environment(ground, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        database = into / "penstock.db"
        eventually(
            lambda: demo.poll() is not None or (database.exists() and len(processes_in(into)) > 1),
            within_s=30,
            what="a worker with runners",
            state=lambda: processes_in(into),
        )
        demo.send_signal(number)
        out, err = demo.communicate(timeout=60)
    assert demo.returncode == code, (out, err)
    assert f"stopped; what was done so far stays in {into}" in err
    assert "Traceback" not in err
    assert processes_in(into) == []
    assert database.is_file()


def test_folders_that_will_not_do_are_refused(ground: Path) -> None:
    """A missing or empty folder, a full target and --url end with 2 and one line."""
    (ground / "empty").mkdir()
    for words, part in (
        (("nowhere",), "folder 'nowhere' does not exist"),
        (("empty",), "holds no file to analyse"),
        (("files", "--into", "files"), "--into 'files' is not empty"),
        (("files", "--url", "sqlite:///x.db"), "--url is not for the demo"),
    ):
        ended = penstock("demo", *words, folder=ground)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended
        assert part in ended.err
