"""`penstock worker` and `penstock enqueue` with a real worker, started as a user starts it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import PENSTOCK, Ended, environment, penstock
from tests.support.eventually import eventually

APP = """
import time

from penstock import App

app = App()


@app.task
def add(a: int, b: int = 1) -> int:
    return a + b


@app.task
def nap() -> None:
    time.sleep(600)


@app.task(isolation="process")
def lone() -> int:
    return 1


@app.task(queue="mail")
async def greet(name: str, loud: bool = False) -> str:
    return name.upper() if loud else name
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app of two tasks in two queues."""
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@contextmanager
def worker(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run `penstock worker shop` during a `with` block; its log is `worker.log`."""
    with (
        (folder / "worker.log").open("w") as log,
        subprocess.Popen(
            [PENSTOCK, "worker", "shop", *words],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def enqueue(folder: Path, *words: str) -> str:
    """Enqueue a job and return its id."""
    ended = penstock("enqueue", "shop", *words, "--quiet", folder=folder)
    assert ended.code == 0, ended
    return ended.out.strip()


def wait(folder: Path, job: str) -> Any:
    """Wait for a job and return its document."""
    ended: Ended = penstock("job", job, "--wait", "--timeout", "30s", "--json", folder=folder)
    log = folder / "worker.log"
    assert ended.code == 0, f"{ended}\n{log.read_text() if log.exists() else ''}"
    return ended.document


def test_enqueue_tells_where_the_job_is(folder: Path) -> None:
    """The JSON of `enqueue` holds id, state, durability and the absolute path of the file."""
    ended = penstock(
        "enqueue", "shop:app", "shop.add", "[1]", "--delay", "1h", "--json", folder=folder
    )
    document = ended.document
    assert document | {"id": ""} == {
        "id": "",
        "task": "shop.add",
        "queue": "default",
        "state": "scheduled",
        "durability": "fsync",
        "duplicate": False,
        "location": str(folder / "penstock.db"),
    }
    text = penstock("enqueue", "shop", "shop.add", "[1]", folder=folder).out
    assert f"stored in   {folder / 'penstock.db'}" in text


def test_a_burst_worker_runs_everything_and_ends(folder: Path) -> None:
    """Arguments given by name, position and as text reach the tasks; --burst ends with 0."""
    jobs = {
        enqueue(folder, "shop.add", "[1, 2]"): 3,
        enqueue(folder, "shop.add", '{"a": 5}'): 6,
        enqueue(folder, "shop.greet", "--arg", "name=ann", "--arg", "loud=true"): "ANN",
        enqueue(folder, "shop.greet", "--arg", 'name="7"'): "7",
    }
    with worker(folder, "--burst") as process:
        assert process.wait(60) == 0, (folder / "worker.log").read_text()
    for job, result in jobs.items():
        assert wait(folder, job)["result"] == result


def test_enqueue_takes_the_options_of_a_call(folder: Path) -> None:
    """Priority, queue, retries, timeout, tags and parents are stored with the job."""
    parent = enqueue(folder, "shop.add", "[1]")
    child = enqueue(
        folder, "shop.add", "[2]", "--after", parent, "--priority", "9", "--queue", "slow",
        "--retries", "0", "--timeout", "90s", "--tag", "a", "--tag", "b", "--expires", "1h",
    )  # fmt: skip
    shown = penstock("job", child, "--json", folder=folder).document
    assert (shown["state"], shown["queue"], shown["priority"]) == ("blocked", "slow", 9)
    assert shown["options"] == {"expires_ms": 3_600_000, "retries": 0, "timeout_ms": 90_000}
    assert shown["tags"] == ["a", "b"]
    assert shown["parents"] == [{"id": parent, "ignore_failure": False}]


def test_the_same_key_gives_the_same_job(folder: Path) -> None:
    """A second call with the same key is a duplicate; with other arguments it ends with 4."""
    words = ("enqueue", "shop", "shop.add", "--key", "k", "--json")
    first = penstock(*words, "[1]", folder=folder).document
    second = penstock(*words, "[1]", folder=folder).document
    assert (second["id"], second["duplicate"]) == (first["id"], True)
    other = penstock(*words, "[2]", folder=folder)
    assert (other.code, other.error["kind"], other.error["job_id"]) == (
        4,
        "DuplicateKey",
        first["id"],
    )


def test_a_duplicate_is_told_from_its_own_record(folder: Path) -> None:
    """The same key with another queue answers with the queue in which the job really is."""
    words = ("enqueue", "shop", "shop.add", "[1]", "--key", "k")
    first = penstock(*words, "--json", folder=folder).document
    second = penstock(*words, "--queue", "other", "--json", folder=folder).document
    assert (second["id"], second["queue"], second["duplicate"]) == (first["id"], "default", True)
    text = penstock(*words, "--queue", "other", folder=folder).out
    assert re.search(r"^queue +default$", text, re.MULTILINE), text


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("shop:nope", "module 'shop' has no App called 'nope': it has app"),
        ("broken", "'broken:app' cannot be imported: RuntimeError: no such luck"),
        ("broken", "broken.py, line 2); mend the module; --debug shows the traceback"),
        ("broken", "penstock worker: app "),
        ("imports", "No module named 'not_there_at_all'"),
        ("syntax", "syntax.py, line 3"),
        ("tests_of.nowhere", "module 'tests_of.nowhere' of app 'tests_of.nowhere:app' is not"),
    ],
)
def test_a_wrong_module_is_one_line_with_2(folder: Path, target: str, part: str) -> None:
    """A worker tells what is wrong with the user's module as `enqueue` does."""
    (folder / "broken.py").write_text("import penstock\nraise RuntimeError('no such luck')\n")
    (folder / "imports.py").write_text("import not_there_at_all\n")
    (folder / "syntax.py").write_text("a = 1\n\nb = = 2\n")
    (folder / "tests_of").mkdir()
    ended = penstock("worker", target, folder=folder)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended
    assert part in ended.err
    assert ended.err.startswith("penstock worker: ")
    error = penstock("worker", target, "--json", folder=folder).error
    assert (error["exit_code"], f"penstock worker: {error['message']}\n") == (2, ended.err)


def test_debug_shows_the_traceback_of_the_users_module(folder: Path) -> None:
    """`worker --debug` prints it above the line."""
    (folder / "broken.py").write_text("raise RuntimeError('no such luck')\n")
    ended = penstock("worker", "broken", "--debug", folder=folder)
    assert (ended.code, "Traceback (most recent call last)" in ended.err) == (2, True)


def test_a_foreign_file_ends_a_worker_as_it_ends_a_command(folder: Path) -> None:
    """A file of another program is refused with the same code by `queues` and `worker`."""
    (folder / "notes.db").write_text("no database at all" * 1000)
    other = sqlite3.connect(folder / "other.db")
    other.execute("CREATE TABLE jobs (a)")
    other.commit()
    other.close()
    for name in ("notes.db", "other.db"):
        url = ("--url", f"sqlite:///{folder / name}")
        codes = [penstock(*w, *url, folder=folder).code for w in (("queues",), ("worker", "shop"))]
        assert codes == [2, 2], name
        env = {"PENSTOCK_URL": url[1]}
        codes = [
            penstock(*w, folder=folder, env=env).code for w in (("queues",), ("worker", "shop"))
        ]
        assert codes == [78, 78], name


def test_doctor_knows_a_killed_worker(folder: Path) -> None:
    """A worker that was killed here is dead at once, though its leases still run."""
    job = enqueue(folder, "shop.nap")
    with worker(folder) as process:
        eventually(
            lambda: penstock("job", job, "--json", folder=folder).document["state"] == "running",
            within_s=30,
            what="the job to run",
        )
        well = penstock("doctor", "--json", folder=folder).document
        process.kill()
        process.wait()
    name = well["workers"][0]["worker"]
    assert not any(one["dead"] for one in well["workers"])
    pids = {one["pid"] for one in well["workers"]}
    eventually(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
        within_s=30,
        what="the runners to follow their supervisor",
    )
    ended = penstock("doctor", "--json", folder=folder)
    texts = [one["text"] for one in ended.document["findings"] if one["what"] == "workers"]
    want = f"{name} was killed; its 1 running job is taken over by the next worker"
    assert (ended.code, texts) == (1, ["0 at work", want])
    assert all(one["dead"] for one in ended.document["workers"])


def test_the_worker_is_the_supervisor_and_nothing_else(folder: Path) -> None:
    """The process that was started supervises, with neither typer and rich nor the app in it."""
    with worker(folder, "--name", "left", "--queues", "mail,default") as process:
        wait(folder, enqueue(folder, "shop.add", "[1]"))
        [found] = penstock("doctor", "--worker", "--json", folder=folder).document["workers"]
        table = penstock("doctor", "--worker", folder=folder)
        seen = penstock("doctor", "--json", folder=folder).document["workers"]
    assert process.returncode == 0
    health = found["health"]
    assert (found["state"], health["pid"]) == ("ok", process.pid)
    assert health["worker"].startswith("left@")
    assert health["queues"] == ["mail", "default"]
    assert not {"typer", "rich", "click", "shop"} & set(health["modules"])
    assert "apsw" in health["modules"]  # so the list is not just empty
    assert f"ok     {health['worker']}" in table.out
    assert {one["worker"] for one in seen} == {health["worker"]}


def test_what_children_have_settled_shows(folder: Path) -> None:
    """The table of `doctor --worker` counts the jobs of children beside those of runners."""
    with worker(folder):
        wait(folder, enqueue(folder, "shop.add", "[1]"))
        wait(folder, enqueue(folder, "shop.lone"))
        eventually(
            lambda: settled_in_table(folder) == 2,
            within_s=30,
            what="both settled jobs to show",
            state=lambda: penstock("doctor", "--worker", folder=folder).out,
        )
        [found] = penstock("doctor", "--worker", "--json", folder=folder).document["workers"]
    assert found["health"]["settled"] == 2
    assert sum(one["settled"] for one in found["health"]["runners"]) == 1


def settled_in_table(folder: Path) -> int:
    """Return what `doctor --worker` shows of its one worker as settled."""
    shown = penstock("doctor", "--worker", folder=folder).out
    row = re.search(r"(\d+) +\d+ and \d+ (?:child|children)", shown)
    assert row is not None, shown
    return int(row[1])


def test_a_foreign_folder_of_sockets_is_a_problem(folder: Path) -> None:
    """`doctor --worker` does not believe who answers where others can write, and says so."""
    with worker(folder):
        wait(folder, enqueue(folder, "shop.add", "[1]"))
        [found] = penstock("doctor", "--worker", "--json", folder=folder).document["workers"]
        sockets = Path(found["socket"]).parent
        sockets.chmod(0o777)
        ended = penstock("doctor", "--worker", folder=folder)
        sockets.chmod(0o700)
    assert (found["state"], ended.code) == ("ok", 1)
    assert "is not a folder that only this user can write to" in ended.out


def test_a_killed_worker_is_told_from_a_live_one(folder: Path) -> None:
    """Without a live worker `doctor --worker` ends with 1; a socket left behind is called dead."""
    none = penstock("doctor", "--worker", folder=folder)
    assert (none.code, "no worker of this user answers" in none.err) == (1, True)
    with worker(folder) as process:
        wait(folder, enqueue(folder, "shop.add", "[1]"))
        process.kill()
        process.wait()
    ended = penstock("doctor", "--worker", "--json", folder=folder)
    [found] = ended.document["workers"]
    assert (ended.code, found["state"], found["health"]) == (1, "dead", None)


def test_only_the_named_queues_are_served(folder: Path) -> None:
    """--queues limits a worker; by default it serves all queues that its app names."""
    default, mail = enqueue(folder, "shop.add", "[1]"), enqueue(folder, "shop.greet", '["ann"]')
    with worker(folder, "--burst", "--queues", "mail") as process:
        assert process.wait(60) == 0
    assert wait(folder, mail)["state"] == "completed"
    assert penstock("job", default, "--json", folder=folder).document["state"] == "queued"
    with worker(folder, "--burst") as process:
        assert process.wait(60) == 0
    assert wait(folder, default)["state"] == "completed"


def test_the_log_is_json_with_json(folder: Path) -> None:
    """`worker --json` writes one JSON object per line and nothing else."""
    enqueue(folder, "shop.add", "[1]")
    with worker(folder, "--burst", "--json") as process:
        assert process.wait(60) == 0
    lines = (folder / "worker.log").read_text().splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict)


def test_ctrl_c_drains_the_worker(folder: Path) -> None:
    """SIGINT ends a worker with 0 once its jobs are done."""
    with worker(folder) as process:
        wait(folder, enqueue(folder, "shop.add", "[1]"))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def on_terminal(folder: Path, *words: str, columns: int, **more: str) -> str:
    """Run a command whose stdout is a terminal of that width and return what it printed."""
    ours, theirs = pty.openpty()
    env = environment(folder, COLUMNS=str(columns), TERM="xterm-256color", **more)
    with subprocess.Popen(
        [PENSTOCK, *words], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=theirs
    ) as process:
        os.close(theirs)
        printed = b""
        try:
            while part := os.read(ours, 65_536):
                printed += part
        except OSError:  # how Linux tells that the other side of a terminal is closed
            pass
        os.close(ours)
        assert process.wait(60) == 0
    return printed.decode()


def test_tables_fit_the_terminal_and_keep_ids_whole(folder: Path) -> None:
    """On a narrow terminal lines are cut and columns left out, but ids and states stay whole."""
    job = enqueue(folder, "shop.add", "[1]")
    narrow = on_terminal(folder, "jobs", columns=60, NO_COLOR="1")
    lines = [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in narrow.splitlines()]
    assert lines[1].startswith(f"{job}  queued")
    assert all(len(line) <= 60 for line in lines)
    assert "queue" not in lines[0].split()
    wide = on_terminal(folder, "jobs", columns=120, NO_COLOR="1")
    assert all(title in wide for title in ("queue", "claims", "age", "reason or error"))


def test_colour_is_for_terminals_and_can_be_turned_off(folder: Path) -> None:
    """States are coloured on a terminal, not with NO_COLOR, and never in a pipe."""
    enqueue(folder, "shop.add", "[1]")
    assert "\x1b[34mqueued" in on_terminal(folder, "jobs", columns=120)
    assert "\x1b[3" not in on_terminal(folder, "jobs", columns=120, NO_COLOR="1")
    piped = penstock("jobs", folder=folder, env={"TERM": "xterm-256color"})
    assert "\x1b" not in piped.out


def test_a_first_worker_tells_nothing_that_did_not_happen(folder: Path) -> None:
    """On a new file `--burst` speaks of no outage, and of no second signal where none came."""
    ended = penstock("worker", "shop", "--burst", folder=folder)
    assert ended.code == 0
    assert "burst: nothing is left to do, the worker ends" in ended.err
    assert "once more" not in ended.err
    assert "nobody looked" not in ended.err


FRAGILE = """
import os, pathlib, signal

from penstock import App

app = App()
mark = pathlib.Path("broken")
if mark.exists():
    raise RuntimeError("no such luck")


@app.task
def end() -> None:
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_runner_that_cannot_import_is_told_by_that_alone(folder: Path) -> None:
    """Its process is killed by the supervisor, and the log does not call that a crash."""
    (folder / "shop.py").write_text(FRAGILE)
    enqueue(folder, "shop.end")
    log = folder / "worker.log"

    def refused() -> str:
        found = re.search(r"runner ([0-9]+) could not import", log.read_text())
        return found[1] if found else ""

    with worker(folder):
        eventually(lambda: bool(refused()), within_s=30, what="a runner to fail at its import")
        end = re.compile(rf"runner {refused()} (has ended|was killed)")
        eventually(lambda: bool(end.search(log.read_text())), within_s=30, what="its end")
    assert f"runner {refused()} was killed" not in log.read_text()
