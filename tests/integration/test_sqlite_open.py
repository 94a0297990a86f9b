"""Opening and closing a SQLite file: what is made, what is refused, and what the refusal says."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from penstock.broker import requests as r
from penstock.brokers.sqlite import SqliteBroker
from penstock.brokers.sqlite.connection import PAGE_BYTES, check_sqlite_version
from penstock.brokers.sqlite.place import check_place, file_system_of
from penstock.errors import BadSetting, Unavailable, UsageError, WrongContext
from tests.support.sqlite_actor import QUEUE, ROOT, Actor
from tests.support.sqlite_file import look

#: Opens the file named in argv and prints the error.
OPENER = """
import sys
from penstock.brokers.sqlite import SqliteBroker
try:
    SqliteBroker.open(sys.argv[1]).register(["new"])
except Exception as error:
    print(type(error).__name__, error)
"""

#: Lets permission bits hold for root too.
WITHOUT_POWERS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]

#: What the stdlib's older SQLite, which is never loaded into this process, sees in the file.
INSPECTOR = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(connection.execute("SELECT queue, state, task, spec, enqueued_at FROM jobs").fetchall())
print(connection.execute("SELECT * FROM queues WHERE jobs > 0").fetchall())
"""


def test_a_new_file_is_made(tmp_path: Path) -> None:
    """The file gets a write-ahead log, our application id and the schema version."""
    path = tmp_path / "jobs.db"
    with closing(SqliteBroker.open(path)) as broker:
        facts = broker.describe()
    assert (facts.kind, facts.location) == ("sqlite", str(path))
    assert facts.durability is r.Durability.FSYNC
    assert set(facts.durabilities) == {r.Durability.FSYNC, r.Durability.LOCAL}
    assert look(path, "PRAGMA journal_mode") == [("wal",)]
    assert look(path, "PRAGMA application_id") == [(0x50656E73,)]
    assert look(path, "SELECT value FROM meta WHERE name = 'schema_version'") == [("2",)]


def test_queues_run_out_of_tags(tmp_path: Path) -> None:
    """The 65,536th queue is refused in words, and nothing of it is kept."""
    path = tmp_path / "jobs.db"
    broker = SqliteBroker.open(path)
    look(path, "INSERT INTO queue (tag, name) VALUES (65535, 'last')")
    with pytest.raises(UsageError, match="queue 'one-more' has no tag: all 65535 are given"):
        broker.register(["one-more"])
    assert broker.register(["last"]) == {"last": 65_535}


def test_a_relative_path_is_told_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The location is absolute, so that a later change of directory does not move the jobs."""
    monkeypatch.chdir(tmp_path)
    with closing(SqliteBroker.open("jobs.db")) as broker:
        monkeypatch.chdir("/")
        broker.register([QUEUE])
        assert broker.describe().location == str(tmp_path / "jobs.db")


def test_jobs_survive_close_and_open(tmp_path: Path) -> None:
    """What was accepted is there for the next process, and a clean close leaves one file."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    (job_id,) = actor.put()
    actor.broker.close()
    assert [file.name for file in tmp_path.iterdir()] == ["jobs.db"]
    record = Actor(path).broker.get(job_id)
    assert record is not None
    assert record.spec.task == "task"


def test_a_closed_broker_refuses_calls(tmp_path: Path) -> None:
    """Reads, writes and listeners raise after close, and a second close does nothing."""
    actor = Actor(tmp_path / "jobs.db")
    request = actor.request()
    actor.broker.close()
    actor.broker.close()
    for call in (
        lambda: actor.broker.enqueue([request]),
        actor.broker.counts,
        actor.broker.listen,
        actor.broker.describe,
    ):
        with pytest.raises(WrongContext, match="is closed: open a new one"):
            call()


@pytest.mark.parametrize("content", [b"rubbish" * 1000, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    """The message names the path and the way out, and the file stays as it is."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(BadSetting, match="is no SQLite file: give another path") as caught:
        SqliteBroker.open(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    """Tables that are not ours are left alone."""
    path = tmp_path / "theirs.db"
    with closing(apsw.Connection(str(path))) as theirs:
        theirs.execute("CREATE TABLE job (id); INSERT INTO job VALUES (1)")
    before = path.read_bytes()
    with pytest.raises(BadSetting, match="SQLite file of another program"):
        SqliteBroker.open(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A file of a newer Penstock is not touched; the message names both versions."""
    path = tmp_path / "jobs.db"
    SqliteBroker.open(path).close()
    look(path, "UPDATE meta SET value = '4' WHERE name = 'schema_version'")
    with pytest.raises(BadSetting, match=r"from version 4 on; this one knows 3: upgrade Penstock"):
        SqliteBroker.open(path)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """A page of garbage in the middle gives a clear error, not a wrong answer."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    actor.put(200)
    actor.broker.close()
    (root,) = look(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'job'")[0]
    content = bytearray(path.read_bytes())
    page = int(str(root)) - 1
    content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = b"\xa5" * PAGE_BYTES
    path.write_bytes(content)
    damaged = SqliteBroker.open(path)
    with pytest.raises(Unavailable, match=r"damaged.*recover"):
        damaged.list_jobs(r.JobFilter(), limit=100, before=None)
    with pytest.raises(Unavailable, match=r"damaged.*recover"):
        Actor(path).put()


def test_a_directory_and_a_missing_directory_are_refused(tmp_path: Path) -> None:
    """Both messages say what to give instead."""
    with pytest.raises(BadSetting, match="is a directory: give the path of a file in it"):
        SqliteBroker.open(tmp_path)
    with pytest.raises(BadSetting, match="missing is no directory: make it"):
        SqliteBroker.open(tmp_path / "missing" / "jobs.db")


def test_a_durability_that_sqlite_cannot_give_is_refused(tmp_path: Path) -> None:
    """A class of another broker is refused at open."""
    with pytest.raises(BadSetting, match="use fsync, local"):
        SqliteBroker.open(tmp_path / "jobs.db", durability=r.Durability.REPLICATED)


@pytest.mark.parametrize(("writable", "words"), [("file", "directory"), ("none", "write")])
def test_a_place_without_rights_is_told(tmp_path: Path, writable: str, words: str) -> None:
    """Where the file or its directory cannot be written, the message says which right is needed."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "jobs.db"
    SqliteBroker.open(path).close()
    path.chmod(0o666 if writable == "file" else 0o444)
    folder.chmod(0o555)
    command = [sys.executable, "-c", OPENER, str(path)]
    try:
        done = subprocess.run(
            [*(WITHOUT_POWERS if os.geteuid() == 0 else []), *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    finally:
        folder.chmod(0o755)
    assert done.stdout.startswith("Unavailable"), done.stdout
    assert str(path) in done.stdout
    assert "give this user the right to write" in done.stdout
    assert words in done.stdout


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /mnt/share rw - nfs4 host:/export rw
31 22 0:41 / /mnt/with\\040space rw - cifs //host/share rw
32 30 254:1 / /mnt/share/local rw - xfs /dev/vdb rw
33 22 0:42 / /run rw - tmpfs tmpfs rw
34 22 0:43 / /mnt/hidden rw - nfs host:/old rw
35 22 254:2 / /mnt/hidden rw - ext4 /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/srv/jobs", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/share/local/jobs", "xfs"),
        ("/mnt/with space", "cifs"),
        ("/mnt/shared", "ext4"),
        ("/mnt/hidden", "ext4"),
    ],
)
def test_the_innermost_mount_counts(directory: str, kind: str) -> None:
    """The file system of a directory is that of the last mount on its innermost mount point."""
    assert file_system_of(Path(directory), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "ceph", "fuse.sshfs"])
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    """A place that other hosts write to is refused, with the way out."""
    mounts = f"22 1 0:5 / / rw - {kind} source rw\n"
    with pytest.raises(BadSetting, match=f"is on {kind}, a network file system.*local disk"):
        check_place(tmp_path / "jobs.db", mounts=mounts)


def test_a_file_in_memory_is_warned_about() -> None:
    """A tmpfs ends with the boot; the broker works there and says so."""
    path = Path(f"/dev/shm/penstock-{os.getpid()}.db")  # noqa: S108 - the tmpfs is what is tested
    try:
        with closing(SqliteBroker.open(path)) as broker:
            (warning,) = broker.describe().warnings
        assert "ends with this boot" in warning
    finally:
        path.unlink()


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2"])
def test_a_sqlite_that_can_damage_its_log_is_refused(version: str) -> None:
    """Before 3.51.3 two connections could corrupt a log; the message says what to install."""
    with pytest.raises(BadSetting, match=f"SQLite {version} is too old.*install apsw 3.51.3"):
        check_sqlite_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_later_versions_are_taken(version: str) -> None:
    """The first version with the mend and all later ones pass."""
    check_sqlite_version(version)


def test_a_file_that_was_replaced_takes_no_more_writes(tmp_path: Path) -> None:
    """Who deletes the file under a running process is told, instead of losing jobs silently."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    actor.broker.register([QUEUE])
    request = actor.request()
    path.unlink()
    actor.broker._file._look_at = 0.0
    with pytest.raises(Unavailable, match="was removed or replaced while it was open"):
        actor.broker.enqueue([request])


def test_another_sqlite_can_read_the_file(tmp_path: Path) -> None:
    """A person with the sqlite3 of the system sees jobs and counters in words."""
    path = tmp_path / "jobs.db"
    actor = Actor(path)
    actor.put(2)
    done = subprocess.run(
        [sys.executable, "-c", INSPECTOR, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.count("('q', 'queued', 'task', '{\"task\":\"task\"") == 2
    assert "('q', 0, 'queued', 2)" in done.stdout
    assert " 20" in done.stdout or "'20" in done.stdout
