"""How commands fail: one line or one JSON document, a code from one table, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from penstock import errors
from penstock.cli.exits import EXITS, Exit, exit_of
from tests.support.command_line import PENSTOCK, Ended, environment, penstock
from tests.support.port_worker import PortWorker

APP = """
from penstock import App

app = App()

@app.task
def add(a: int, b: int = 1) -> int:
    return a + b
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app, a broken module, and settings that name a database."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "broken.py").write_text("import not_there_at_all\n")
    (tmp_path / "penstock.toml").write_text('url = "sqlite:///jobs.db"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ("jbos", 2, "No such command 'jbos'. Did you mean 'jobs'?"),
        ("jobs --statee x", 2, "No such option: --statee"),
        ("jobs --limit 501", 2, "not in the range"),
        ("job", 2, "Missing argument 'ID'"),
        ("job xyz", 2, "a job id is 32 hexadecimal digits"),
        ("queues", 3, "does not exist: give --url, or enqueue a job or start a worker"),
        ("queues --url sqlite://host/x", 2, "setting url from --url"),
        ("queues --url redis+cluster://h/0", 2, "not supported yet: give one server"),
        ("queues --url memory://", 2, "in the memory of one process"),
        ("enqueue shop shop.ad", 3, "did you mean shop.add?"),
        ("enqueue shop shop.add", 2, "missing a required argument: 'a'"),
        ("enqueue shop shop.add --arg a=x", 2, "Expected `int`, got `str`"),
        ("enqueue shop shop.add --arg a=1 --priority 11", 2, "priority 11 is not allowed"),
        ("enqueue shop shop.add --arg a", 2, "write --arg name=value"),
        ("enqueue shop shop.add {a:1}", 2, "is not JSON"),
        ("enqueue shop shop.add 3", 2, "neither an object nor an array"),
        ("enqueue shop:nothing shop.add", 2, "has no App called 'nothing': it has app"),
        ("enqueue nowhere x", 2, "module 'nowhere' of app 'nowhere' is not found"),
        ("enqueue broken x", 2, "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("enqueue shop shop.add [1] --run-at 2027-01-31T08:00:00", 2, "append Z for UTC"),
        ("queues --url sqlite://", 2, "give an absolute path"),
        ("queues --url sqlite:///", 2, "give an absolute path"),
        ("queues --url sqlite:///:memory:", 2, "use memory:// in tests"),
        ("queues --url sqlite:////dev/null", 2, "/dev/null is no regular file"),
        ("purge --queue q", 2, "of completed, dead, cancelled, expired"),
        (f"enqueue shop shop.add [1] --after {'0' * 32}", 3, "0" * 32),
    ],
)
def test_a_mistake_is_one_line_with_its_code(
    folder: Path, words: str, code: int, part: str
) -> None:
    """A user's mistake prints one line that names it and the way out, and nothing on stdout."""
    ended = penstock(*words.split(" "), folder=folder)
    assert ended.code == code, ended
    assert part in ended.err
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(("penstock ", "penstock: "))


def test_errors_are_json_with_json(folder: Path) -> None:
    """With --json the error is one document on stderr, for mistakes of the parser too."""
    for words, kind, code in (
        (("job", "xyz"), "BadSetting", 2),
        (("job",), "Usage", 2),
        (("queues",), "NotFound", 3),
        (("enqueue", "shop", "shop.ad"), "UnknownTask", 3),
    ):
        ended = penstock(*words, "--json", folder=folder)
        assert (ended.error["kind"], ended.error["exit_code"], ended.code) == (kind, code, code)
        assert ended.out == ""


def test_settings_outside_the_command_line_end_with_78(folder: Path) -> None:
    """A wrong variable, a wrong file and a broker that is not installed are told by 78."""
    wrong = penstock("queues", folder=folder, env={"PENSTOCK_LEASE_TTL": "abc"})
    assert (wrong.code, "setting lease_ttl from PENSTOCK_LEASE_TTL" in wrong.err) == (78, True)
    redis = penstock("queues", folder=folder, env={"PENSTOCK_URL": "redis+cluster://u:pw@h/0"})
    assert (redis.code, "(from PENSTOCK_URL)" in redis.err) == (78, True)
    assert "pw" not in redis.err
    (folder / "penstock.toml").write_text("lease_tll = 3\n")
    file = penstock("queues", folder=folder)
    assert (file.code, "did you mean lease_ttl?" in file.err) == (78, True)


def test_a_setting_is_told_by_the_name_under_which_it_was_given(folder: Path) -> None:
    """A class that the broker lacks, a flag of another name, a table: each is told as written."""
    words = ["enqueue", "shop", "shop.add", "[1]"]
    none = penstock(*words, folder=folder, env={"PENSTOCK_DURABILITY": "none"})
    assert (none.code, "(from PENSTOCK_DURABILITY)" in none.err) == (78, True)
    assert "durability 'none' is not to be had from sqlite" in none.err
    named = penstock("worker", "shop", "--name", "a/b", folder=folder)
    assert (named.code, "setting worker_name from --name: " in named.err) == (2, True)
    (folder / "penstock.toml").write_text("[worker]\nname = 'a'\n")
    table = penstock("config", folder=folder)
    assert (table.code, "table 'worker'" in table.err) == (78, True)
    assert "there are [queues], [routes], [profiles]" in table.err


def test_a_locked_database_is_unavailable(folder: Path) -> None:
    """While another process holds the file, a write ends with 69: nothing was written."""
    worker = PortWorker(folder / "jobs.db")
    job = worker.enqueue()
    worker.close()
    other = apsw.Connection(str(folder / "jobs.db"))
    other.execute("BEGIN IMMEDIATE")
    try:
        reads = [
            penstock(*words, folder=folder) for words in (("queues",), ("jobs",), ("job", job))
        ]
        report = penstock("doctor", "--json", folder=folder)
        ended = penstock("cancel", job, "--json", folder=folder)
    finally:
        other.close()
    assert [read.code for read in reads] == [0, 0, 0], "a read waits for nobody"
    assert "default" in report.out
    assert ended.code == 69
    assert ended.error["kind"] == "Unavailable"
    assert "nothing was written" in ended.error["message"]


def test_debug_shows_the_traceback(folder: Path) -> None:
    """--debug prints the traceback above the line; without it there is none."""
    ended = penstock("enqueue", "broken", "x", "--debug", folder=folder)
    assert "Traceback (most recent call last)" in ended.err
    assert 'broken.py", line 1' in ended.err


def run(*words: str, folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start a command whose ends the test holds."""
    return subprocess.Popen(
        [PENSTOCK, *words],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_closed_pipe_ends_quietly(folder: Path) -> None:
    """When the reader of the output is gone the command ends with 141 and says nothing."""
    worker = PortWorker(folder / "jobs.db")
    for _ in range(3):
        worker.enqueue()
    worker.close()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [PENSTOCK, "jobs", "--json"],
            cwd=folder,
            env=environment(folder),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_closed_standard_output_ends_quietly(folder: Path) -> None:
    """Without any stdout a command ends with 141 and says nothing; without stderr it works."""
    worker = PortWorker(folder / "jobs.db")
    worker.enqueue()
    worker.close()
    for words, shell, code in (
        ("jobs", ">&-", 141),
        ("jobs --json", ">&-", 141),
        ("jobs", "2>&-", 0),
        ("jobs", "<&-", 0),
        ("job xyz", ">&- 2>&- <&-", 2),
    ):
        ended = subprocess.run(
            ["/bin/sh", "-c", f'"$0" {words} {shell}', PENSTOCK],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (code, ""), (words, shell)
        assert bool(ended.stdout) == (code == 0)


def test_a_full_standard_output_is_named_with_the_job(folder: Path) -> None:
    """Where stdout takes no more, enqueue says so, and that the job is accepted, with its id."""
    words = ["enqueue", "shop", "shop.add", "[1]"]
    for more in ([], ["--quiet"], ["--json"]):
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(
                [PENSTOCK, *words, *more],
                cwd=folder,
                env=environment(folder),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        newest = penstock("jobs", "--json", folder=folder).document["jobs"][0]["id"]
        assert ended.returncode == 1
        assert "standard output cannot be written (No space left on device)" in ended.stderr
        assert f"job {newest} was accepted" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        if "--json" in more:
            assert Ended(1, "", ended.stderr).error["job_id"] == newest


def test_ctrl_c_ends_with_130(folder: Path) -> None:
    """SIGINT while a command waits ends it with 130, without a traceback."""
    worker = PortWorker(folder / "jobs.db")
    job = worker.enqueue()
    with run("job", job, "--wait", folder=folder) as process:
        # It looks at the job every 50 ms at most; once it has the file open it waits.
        try:
            wait_until_open(process, folder / "jobs.db")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    worker.close()
    assert (process.returncode, out, err) == (130, "", "")


def wait_until_open(process: subprocess.Popen[str], file: Path) -> None:
    """Wait until a process has `file` open."""
    from tests.support.eventually import eventually

    def has_it_open() -> bool:
        found: list[str] = []
        # Race: what it closes meanwhile is gone.
        with suppress(FileNotFoundError):
            found += (str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir())
        return str(file) in found

    eventually(has_it_open, within_s=30, what=f"{file} to be opened")


def test_every_error_has_an_exit_code() -> None:
    """Each public error class maps to a code of the table, none to success."""
    found = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(found) > 15
    for kind in found:
        error = kind.__new__(kind)
        assert exit_of(error) is not Exit.OK
    assert exit_of(ValueError()) is Exit.FAILED
    # A row that stands below its own base class would never be reached.
    for place, (row, _) in enumerate(EXITS):
        assert not any(issubclass(row, earlier) for earlier, _ in EXITS[:place]), row


def test_no_command_prints_help_and_fails(folder: Path) -> None:
    """`penstock` alone prints its commands and ends with 2; --help ends with 0."""
    alone: Ended = penstock(folder=folder)
    assert alone.code == 2
    helped = penstock("--help", folder=folder)
    assert helped.code == 0
    for command in ("demo", "worker", "enqueue", "jobs", "job", "queues", "cancel", "requeue"):
        assert f"\n  {command} " in helped.out
    assert helped.out.strip() == alone.err.strip()


def test_a_wrong_table_is_told_by_every_command_that_reads_it(folder: Path) -> None:
    """The file is at fault, not the call: 78, with the table and the key."""
    (folder / "penstock.toml").write_text("[queues.a]\nconcurency = 1\n")
    for words in (["enqueue", "shop", "shop.add", "[1]"], ["up"], ["plan"], ["queues"]):
        ended = penstock(*words, folder=folder)
        assert (ended.code, "did you mean concurrency?" in ended.err) == (78, True), ended
