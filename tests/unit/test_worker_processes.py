"""Processes as their parent sees them: exits, families, identities. Real ones, each."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from penstock.broker.requests import LeaseFacts, Owner
from penstock.core.ids import LeaseId
from penstock.errors import BadSetting
from penstock.executors.family import Family
from penstock.executors.kill import kill_family, living_family
from penstock.executors.process import ExitStatus, Spawner
from penstock.executors.procfs import all_stats, children_of, family, read_holdings, read_stat
from penstock.worker.supervisor.file_lock import _as_locked, write_lock_holders
from penstock.worker.supervisor.identity import Identity
from penstock.worker.supervisor.orphans import become_subreaper
from tests.support.eventually import eventually
from tests.support.processes import is_alive, marked

#: Modules to be run with `-m`, by their text.
MODULES = {
    "exits": "import sys; sys.exit(int(sys.argv[1]))",
    "sleeps": "import time; time.sleep(600)",
    "aborts": "import os; os.abort()",
    "signals": (
        "import signal, sys\n"
        "held = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "plain = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "sys.exit(0 if not held and plain else 1)"
    ),
    "files": (
        "import os, sys\n"
        "found = {int(name) for name in os.listdir('/proc/self/fd')} - {0, 1, 2}\n"
        "sys.exit(0 if [int(n) in found for n in sys.argv[1].split('-')] == [True, False] else 1)"
    ),
    "leads": "import os, sys; sys.exit(0 if os.getsid(0) == os.getpgid(0) == os.getpid() else 1)",
    "forks": (
        "import os, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    time.sleep(600)\n"
        "os.wait()\n"
        "open(sys.argv[1], 'w').close()\n"
        "time.sleep(600)"
    ),
}
IDENTITY = Identity("me@1-a", "here", "boot", 7)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `-m` finds the modules above."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text + "\n")
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}


def run(environment: dict[str, str], module: str, argument: str = "") -> ExitStatus:
    """Run a module to its end."""

    async def main() -> ExitStatus:
        process = Spawner().spawn(module, argument, env=environment, fds=())
        async with asyncio.timeout(30):
            status = await process.exited
        process.bury()
        return status

    return asyncio.run(main())


def test_exits_are_told_in_words(environment: dict[str, str]) -> None:
    """A code and a signal are told apart, and named."""
    assert str(run(environment, "exits", "3")) == "exited with code 3"
    assert str(run(environment, "aborts")) == "was killed by SIGABRT"
    assert str(ExitStatus(killed_by=63)) == "was killed by signal 63"


@pytest.mark.parametrize("module", ["signals", "leads"])
def test_a_new_process_starts_with_a_clean_slate(environment: dict[str, str], module: str) -> None:
    """Nothing blocked, nothing ignored, a session of its own, whatever the parent has set."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        assert run(environment, module).code == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def test_only_named_descriptors_are_inherited(environment: dict[str, str]) -> None:
    """One that is named arrives under its number; the others stay here."""

    async def main() -> ExitStatus:
        reader, writer = os.pipe()
        both = f"{reader}-{writer}"
        process = Spawner().spawn("files", both, env=environment, fds=(reader,))
        status = await process.exited
        assert not os.get_inheritable(reader)
        os.close(reader)
        os.close(writer)
        process.bury()
        return status

    assert asyncio.run(main()).code == 0


def test_a_dead_process_keeps_its_number_until_it_is_buried(environment: dict[str, str]) -> None:
    """A zombie's pid and group cannot be given to a stranger, so killing them hits nobody else."""

    async def main() -> None:
        spawner = Spawner()
        process = spawner.spawn("exits", "0", env=environment, fds=())
        await process.exited
        stat = read_stat(process.pid)
        assert stat is not None
        assert (stat.state, spawner.knows(process.pid)) == ("Z", True)
        process.kill()
        process.bury()
        process.bury()
        process.kill()
        assert (read_stat(process.pid), spawner.knows(process.pid)) == (None, False)

    asyncio.run(main())


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Let this process inherit orphans, as a supervisor does."""
    prctl = ctypes.CDLL(None).prctl
    become_subreaper()
    yield
    prctl(36, 0, 0, 0, 0)


@pytest.mark.usefixtures("subreaper")
@pytest.mark.parametrize("kept", [True, False])
def test_what_a_job_left_is_told_from_what_was_there(
    environment: dict[str, str], tmp_path: Path, *, kept: bool
) -> None:
    """Programs and orphans are found and killed alone, but for those that were there before."""
    ready = tmp_path / "ready"
    mark = f"TEST_MARK={secrets.token_hex(8)}"

    async def main() -> None:
        name, _, value = mark.partition("=")
        spawner = Spawner()
        process = spawner.spawn("forks", str(ready), env={**environment, name: value}, fds=())
        whole = Family(process, mark, spawner.knows)
        await asyncio.to_thread(eventually, ready.exists, within_s=30, what="its programs")
        if kept:
            whole.keep(None)
        members = {one.pid for one in marked(name, value)} - {process.pid}
        left = {one.pid for one in await whole.outlasting(None)}
        assert left == (set() if kept else members)
        assert await whole.kill_left(None)
        assert {pid for pid in members if is_alive(pid)} == (members if kept else set())
        assert is_alive(process.pid)
        await whole.kill(None)
        process.bury()

    asyncio.run(main())


@pytest.mark.usefixtures("subreaper")
def test_a_family_is_killed_to_the_last(environment: dict[str, str], tmp_path: Path) -> None:
    """Programs in the group, and orphans in sessions of their own, die with their process."""
    ready = tmp_path / "ready"
    mark = f"TEST_MARK={secrets.token_hex(8)}"

    async def main() -> list[int]:
        name, _, value = mark.partition("=")
        process = Spawner().spawn("forks", str(ready), env={**environment, name: value}, fds=())
        await asyncio.to_thread(eventually, ready.exists, within_s=30, what="its programs")
        members = [process.pid, *(one.pid for one in marked(name, value))]
        assert await kill_family(process, mark) == 0
        process.bury()
        return members

    members = set(asyncio.run(main()))
    assert len(members) >= 3, "the process, its program, and its orphan"
    assert not [all_stats().get(pid) for pid in members if is_alive(pid)], os.getpid()


def test_a_stranger_is_no_member_of_a_family() -> None:
    """A sibling with another mark, adopted by the same process, is left alone."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        stats = all_stats()
        assert stats[stranger.pid].parent == os.getpid()
        found = family(stats, root=max(stats) + 1, mark="TEST_MARK=none", adopter=os.getpid())
        assert found == set()
    finally:
        stranger.kill()
        stranger.wait()


def test_nothing_is_left_of_a_process_without_children(environment: dict[str, str]) -> None:
    """A child that started nothing has no family."""

    async def main() -> None:
        process = Spawner().spawn("sleeps", "", env=environment, fds=())
        assert living_family(process, "TEST_MARK=none") == []
        await kill_family(process, "TEST_MARK=none")
        process.bury()

    asyncio.run(main())


def test_whoever_stops_waiting_for_an_end_takes_nobody_with_him(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill that is cancelled while the kernel holds the process leaves its end to be seen."""
    # As if all its looks had passed and the process were still there.
    monkeypatch.setattr("penstock.executors.kill._ROUNDS_MAX", 0)

    async def main() -> None:
        process = Spawner().spawn("sleeps", "", env=environment, fds=())
        killing = asyncio.create_task(kill_family(process, "TEST_MARK=none"))
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        killing.cancel()
        await asyncio.wait([killing])
        assert killing.cancelled()
        process.kill()
        async with asyncio.timeout(30):
            assert (await waiting).killed_by == signal.SIGKILL
            assert await kill_family(process, "TEST_MARK=none") == 0
        process.bury()

    asyncio.run(main())


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open nothing more during a `with` block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 20, limits[1]))
    try:
        with suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in opened:
            os.close(fd)


def test_what_cannot_be_watched_is_not_started(environment: dict[str, str]) -> None:
    """Where descriptors run out no process is left behind, running or as a zombie."""

    async def main() -> None:
        spawner, before = Spawner(), children_of(os.getpid())
        with no_descriptor_left(), pytest.raises(OSError) as caught:  # noqa: PT011 - by number
            spawner.spawn("sleeps", "", env=environment, fds=())
        assert caught.value.errno == errno.EMFILE
        assert children_of(os.getpid()) == before
        process = spawner.spawn("exits", "0", env=environment, fds=())
        assert (await process.wait()).code == 0
        process.bury()

    asyncio.run(main())


def test_nothing_need_be_opened_to_kill(environment: dict[str, str]) -> None:
    """Where descriptors run out the process is killed, and its family once it can be looked at."""

    async def main() -> None:
        process = Spawner().spawn("sleeps", "", env=environment, fds=())
        with no_descriptor_left():
            killing = asyncio.create_task(kill_family(process, "TEST_MARK=none"))
            async with asyncio.timeout(30):
                assert (await process.wait()).killed_by == signal.SIGKILL
        assert await killing == 0
        process.bury()

    asyncio.run(main())


def owner(pid: int, ticks: int, *, worker: str = "w", boot: str = "boot", space: int = 7) -> Owner:
    """Return an owner, as seen from `IDENTITY`'s host unless said otherwise."""
    return Owner(worker, "here", boot, space, pid, ticks)


def test_the_dead_are_known_by_all_their_marks() -> None:
    """A pid that is gone or reused is dead here; elsewhere nobody can know."""
    alive = IDENTITY.owner(os.getpid())
    pid, ticks = alive.pid, alive.started_ticks
    assert not IDENTITY.is_dead(alive)
    assert IDENTITY.is_dead(owner(pid, ticks + 1)), "the number was given to another process"
    assert not IDENTITY.is_dead(owner(pid, ticks + 1, boot="other"))
    assert not IDENTITY.is_dead(owner(pid, ticks + 1, space=8))


def test_a_zombie_is_dead() -> None:
    """A process that has ended is dead before its parent has noticed."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    stat = read_stat(process.pid)
    assert stat is not None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert IDENTITY.is_dead(owner(process.pid, stat.started_ticks))
    process.wait()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Let files that nobody may read be unreadable for root too during a `with` block."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_hidden_processes_are_passed_over() -> None:
    """Where /proc is mounted with hidepid=1 strangers are listed, and nothing else is told."""
    with TemporaryDirectory() as made:
        proc = Path(made)
        proc.chmod(0o755)
        for pid, mode in ((1, 0o000), (2, 0o444)):
            (proc / str(pid)).mkdir(mode=0o755)
            stat = proc / str(pid) / "stat"
            stat.write_bytes(Path("/proc/self/stat").read_bytes())
            stat.chmod(mode)
        with unprivileged():
            assert read_stat(1, proc=made) is None
            assert list(all_stats(proc=made)) == [2]


def test_the_hidden_are_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that /proc does not show lives, as long as its number is taken."""
    alive = IDENTITY.owner(os.getpid())
    # As with hidepid=2, which only root can mount.
    monkeypatch.setattr("penstock.worker.supervisor.identity.read_stat", lambda _pid: None)
    assert not IDENTITY.is_dead(alive)
    assert IDENTITY.is_dead(owner(2**22 + 1, alive.started_ticks))


def lease(holder: Owner) -> LeaseFacts:
    """Return an open lease of `holder`."""
    return LeaseFacts(
        id=LeaseId(f"{holder.pid:032x}"), queues=("q",), owner=holder, expires_in_ms=1, running=1
    )


def test_leases_of_a_dead_worker_are_orphaned_and_others_are_not() -> None:
    """Of a worker whose supervisor lives, a dead runner is that supervisor's business."""
    ticks = IDENTITY.owner(os.getpid()).started_ticks
    gone = lease(owner(os.getpid(), ticks + 1, worker="gone@1"))
    supervisor = lease(owner(os.getpid(), ticks, worker="half@1"))
    its_runner = lease(owner(os.getpid(), ticks + 2, worker="half@1"))
    mine = lease(owner(os.getpid(), ticks + 3, worker=IDENTITY.worker))
    assert IDENTITY.orphaned([gone, supervisor, its_runner, mine]) == [gone]


def test_worker_names_are_unique_and_legal() -> None:
    """The same given name is drawn anew each time; a bad one is refused with its rule."""
    names = {Identity.of_this_process("boot", "mail").worker for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("mail@") for name in names)
    with pytest.raises(BadSetting, match="worker name"):
        Identity.of_this_process("boot", "a}{b")


def test_the_writer_of_a_file_is_found(tmp_path: Path) -> None:
    """While a process holds SQLite's write lock it is named, and not afterwards."""
    database = tmp_path / "d.db"
    code = (
        "import apsw, sys\n"
        "c = apsw.Connection(sys.argv[1]); c.pragma('journal_mode', 'wal')\n"
        "c.execute('CREATE TABLE t(x)')\n"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.readline()\n"
        "c.execute('COMMIT'); print('free', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "held\n"
        assert write_lock_holders(database) == {writer.pid}
        writer.stdin.write("\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "free\n"
        assert write_lock_holders(database) == set()
        writer.stdin.close()


def test_a_file_of_another_device_is_another_file(tmp_path: Path) -> None:
    """A lock on a file with the same inode on another device is not taken for one on this file."""
    inode = tmp_path.stat().st_ino
    other = _as_locked(Path("/proc/self/mountinfo"))
    mine = _as_locked(tmp_path)
    assert mine.endswith(f":{inode}")
    assert mine.rsplit(":", 1)[0] != other.rsplit(":", 1)[0]


def test_what_a_process_holds_is_seen(tmp_path: Path) -> None:
    """Memory and open files of a living process; nothing of one that is not there."""
    before = read_holdings(os.getpid())
    with (tmp_path / "open").open("w"):
        now = read_holdings(os.getpid())
    assert before is not None
    assert now is not None
    assert now.descriptors == before.descriptors + 1
    assert now.resident_bytes > 2**20
    assert read_holdings(2**22 + 1) is None
