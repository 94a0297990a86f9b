"""`penstock up` and `penstock plan` with real workers, started as a user starts them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from penstock.broker.requests import LeaseFacts, Owner
from penstock.config.resolve import load
from penstock.core.ids import LeaseId
from penstock.executors.process import ExitStatus, Process, Spawner
from penstock.fleet.foreman import Foreman
from penstock.fleet.member import Member
from penstock.fleet.order import FleetOrder
from penstock.fleet.role import Role, roles_of
from penstock.fleet.scaling import Scaling, busy_workers
from tests.support import processes
from tests.support.command_line import PENSTOCK, environment, penstock
from tests.support.eventually import eventually
from tests.support.fake_nvml import fake_gpus
from tests.support.port_worker import PortWorker

APP = """
import time

from penstock import App

app = App()


@app.task(name="heavy.cluster")
def cluster() -> int:
    return 1


@app.task(name="mail.send")
def send(text: str) -> str:
    return text


@app.task(name="mail.nap")
def nap() -> None:
    time.sleep(600)
"""
FILE = """
drain_grace = "60s"

[queues.heavy]
concurrency = 1
memory = "128MiB"

[queues.mail]
concurrency = 2

[routes]
"heavy.*" = "heavy"
"*" = "mail"

[profiles]
app = "shop:app"

[profiles.large.heavy]
queues = ["heavy"]
cores = 4000
gpu_count = 4000
max = 2
"""
HOST = re.sub(r"[^A-Za-z0-9_.:-]", "-", socket.gethostname())[:48]
#: Seconds for what takes one or two; a bound for broken runs.
SOON_S = 40.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app, and a settings file with queues, routes and a profile."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "penstock.toml").write_text(FILE)
    return tmp_path


class Fleet:
    """A running `penstock up`; its log is `up.log`."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process

    def log(self) -> str:
        """Return all that it and its workers have written."""
        return (self.folder / "up.log").read_text()

    def wait_log(self, pattern: str, times: int = 1) -> list[str]:
        """Return what matches in its log, once there are so many."""
        eventually(
            lambda: len(re.findall(pattern, self.log())) >= times or None,
            within_s=SOON_S,
            what=f"{times} x {pattern!r} in the log",
            state=self.log,
        )
        return re.findall(pattern, self.log())

    def wait_exit(self) -> int:
        """Return its exit code."""
        try:
            return self.process.wait(SOON_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it has not ended\n{self.log()}")


@contextmanager
def up(folder: Path, *words: str) -> Iterator[Fleet]:
    """Run `penstock up` during a `with` block; nothing of it is left behind."""
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [PENSTOCK, "up", *words],
            cwd=folder,
            env=environment(folder, PENSTOCK_TEST_FLEET=str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Fleet(folder, process)
    finally:
        process.kill()
        for one in processes.marked("PENSTOCK_TEST_FLEET", str(folder)):
            processes.kill_tree(one.pid)
        process.wait(10)


def test_a_fleet_runs_restarts_and_drains(folder: Path) -> None:
    """Workers have the names of M3; a killed one is replaced; signals are passed on one by one."""
    with up(folder, "full") as fleet:
        [heavy] = fleet.wait_log(rf"worker-heavy@{HOST} started, pid (\d+)")
        fleet.wait_log(r"runner \d+ is ready", times=2)
        assert re.search(rf"worker worker-mail@{HOST}@\d+-\w+ serves mail on ", fleet.log())
        fleet.process.send_signal(signal.SIGTSTP)
        fleet.wait_log("quiet: nothing is claimed", times=2)
        fleet.process.send_signal(signal.SIGCONT)
        fleet.wait_log("claiming again", times=2)
        os.kill(int(heavy), signal.SIGKILL)
        pids = fleet.wait_log(rf"worker-heavy@{HOST} started, pid (\d+)", times=2)
        assert pids[1] != heavy
        assert f"worker-heavy@{HOST} ended, pid {heavy}: it was killed by SIGKILL" in fleet.log()
        job = penstock("enqueue", "shop", "heavy.cluster", "--quiet", folder=folder).out.strip()
        done = penstock("job", job, "--wait", "--timeout", "40s", "--json", folder=folder)
        assert (done.document["queue"], done.document["state"]) == ("heavy", "completed")
        nap = penstock("enqueue", "shop", "mail.nap", "--quiet", folder=folder).out.strip()
        eventually(
            lambda: _state(folder, nap) == "running",
            within_s=SOON_S,
            what="the nap to run",
            state=fleet.log,
        )
        fleet.process.send_signal(signal.SIGINT)
        fleet.wait_log(rf"worker-heavy@{HOST} ended, pid {pids[1]}: it exited with code 0")
        assert fleet.process.poll() is None
        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.wait_exit() == 0, fleet.log()
        assert "SIGTERM again: every worker releases its jobs now" in fleet.log()
    assert _state(folder, nap) == "queued"


def test_workers_drain_when_their_foreman_is_killed(folder: Path) -> None:
    """SIGKILL to the foreman leaves no worker behind: each drains of its own."""
    with up(folder, "minimal") as fleet:
        [pid] = fleet.wait_log(rf"all-queues@{HOST} started, pid (\d+)")
        fleet.wait_log(r"runner \d+ is ready")
        worker = psutil.Process(int(pid))
        fleet.process.kill()
        worker.wait(SOON_S)
        assert re.search(rf"worker all-queues@{HOST}@{pid}-\w+ has ended", fleet.log())


def test_a_worker_that_never_can_begin_ends_the_fleet(folder: Path) -> None:
    """An app that raises is told by the exit code of its worker; nothing is tried again."""
    (folder / "shop.py").write_text("1 / 0\n")
    with up(folder, "full") as fleet:
        assert fleet.wait_exit() == 2
        assert "ZeroDivisionError" in fleet.log()
        assert "cannot begin, so the others are ended too" in fleet.log()
        assert "is started again" not in fleet.log()


def test_a_fleet_goes_on_with_a_worker_that_begins_anew(folder: Path) -> None:
    """`restart_above` is kept by the worker itself: the process that the fleet knows stays."""
    with up(folder, "minimal", "--restart-above", "10MB") as fleet:
        [pid] = fleet.wait_log(rf"all-queues@{HOST} started, pid (\d+)")
        fleet.wait_log(r"more than 9 MiB \(restart_above\): draining, to begin anew")
        fleet.wait_log(
            rf"worker all-queues@{HOST}@{pid}-\w+ serves default, heavy, mail on ", times=2
        )
        job = penstock("enqueue", "shop", "heavy.cluster", "--quiet", folder=folder).out.strip()
        done = penstock("job", job, "--wait", "--timeout", "40s", "--json", folder=folder)
        assert (done.document["state"], done.document["claims"]) == ("completed", 1)
        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.wait_exit() == 0, fleet.log()
        assert fleet.log().count("started, pid") == 1
        assert "watched, and not enforced" not in fleet.log().partition("begin anew")[2]


async def _never(_: Scaling) -> None:
    """Do nothing, for ever."""
    await asyncio.Event().wait()


def test_workers_come_and_go_by_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last that came drains first, and its number is free again; all drain at the end."""
    monkeypatch.chdir(folder)
    # The backlog has no say here.
    monkeypatch.setattr(Scaling, "run", _never)
    caplog.set_level("INFO", "penstock.fleet")
    order = _order(folder, "max = 2")
    [role] = order.roles
    settings = load(environ={}, directory=folder).settings
    foreman = Foreman(order, settings, environment(folder))

    def seen(pattern: str, times: int = 1) -> bool:
        return len(re.findall(pattern, caplog.text)) == times

    async def vary() -> int:
        running = asyncio.create_task(foreman.run())
        await _until(lambda: seen(r"worker-w-1@here started"), "the first")
        foreman.set_count(role, 2)
        await _until(lambda: seen(r"worker-w-2@here started"), "the second")
        pids = {one.number: one.process.pid for one in foreman._members if one.process}
        # Both are busy: nobody is cut off for being too many.
        foreman.set_count(role, 1, set(pids.values()))
        assert not seen("is no longer needed")
        foreman.set_count(role, 1, {pids[1]})
        await _until(lambda: seen(r"worker-w-2@here ended, .*(code 0|SIGTERM)"), "its end")
        foreman.set_count(role, 2)
        await _until(lambda: seen(r"worker-w-2@here started", 2), "the second again")
        foreman._asked_to_stop(signal.SIGTERM)
        foreman.set_count(role, 2)
        return await running

    assert asyncio.run(vary()) == 0
    assert seen("started, pid", 3)
    assert seen("ended, pid", 3)


def test_the_backlog_grows_and_shrinks_a_fleet(folder: Path) -> None:
    """Jobs that wait ask for more workers, up to the most; when they are gone, for fewer."""
    [role] = _order(folder, "max = 4\njobs_per_worker = 1").roles
    told: list[int] = []
    worker = PortWorker(folder / "penstock.db", "mail")
    jobs = [worker.enqueue() for _ in range(10)]
    settings = load(environ={}, directory=folder).settings

    def tell(_role: Role, count: int, _busy: Collection[int]) -> None:
        if told[-1:] != [count]:
            told.append(count)

    async def follow() -> None:
        scaling = Scaling([role], settings, tell, look_s=0.02)
        running = asyncio.create_task(scaling.run())
        await _until(lambda: told in ([1, 2, 4], [2, 4]), "four workers")
        worker.broker.cancel(jobs)
        await _until(lambda: told[-4:] == [4, 3, 2, 1], "one worker")
        running.cancel()

    try:
        asyncio.run(follow())
    finally:
        worker.close()


def test_plan_holds_a_profile_against_the_machine(folder: Path) -> None:
    """Exit code 1 and the difference where a total is over; 0 and the sums where all fits."""
    over = penstock("plan", "large", folder=folder)
    assert over.code == 1
    assert re.search(r"^heavy +heavy +1-2 +4000 +128 MiB +4000$", over.out, re.MULTILINE)
    assert re.search(r"^total +8000 +256 MiB +8000$", over.out, re.MULTILINE)
    assert re.search(r"^cores: 8000 needed, \d+ here: \d+ too much$", over.out, re.MULTILINE)
    assert "queue mail is served by no worker of this profile" in over.out
    document = penstock("plan", "large", "--json", folder=folder).document
    assert document["over"][0]["over"] == 8000 - document["machine"]["cores"]
    assert (document["fits"], document["unserved"]) == (False, ["mail"])
    fits = penstock("plan", "datasets", "--json", folder=folder)
    assert (fits.code, fits.document["origin"]) == (0, "built in")


def test_plan_names_queues_that_are_too_large_for_their_workers(folder: Path) -> None:
    """With what a job needs, what the largest worker has, and the way out; also as JSON."""
    (folder / "penstock.toml").write_text(
        """
        [queues.heavy]
        memory = "256MiB"

        [queues.render]
        gpu_memory = "24GiB"

        [profiles.small.one]
        queues = ["heavy", "render", "default"]
        memory = "128MiB"
        cores = 1
        gpu_count = 0
        """
    )
    gpus = fake_gpus(GPU_A=8192, GPU_B=16384)
    told = penstock("plan", "small", folder=folder, env=gpus)
    assert told.code == 1
    assert "queue heavy: a job needs 256 MiB, and the largest worker of this profile" in told.out
    assert "raise memory of that worker, or lower memory in [queues.heavy]" in told.out
    assert "queue render: a job needs 24 GiB of a GPU, and the largest that a worker" in told.out
    assert "has 16 GiB (worker one): lower gpu_memory in [queues.render]" in told.out
    document = penstock("plan", "small", "--json", folder=folder, env=gpus).document
    assert (document["fits"], document["over"]) == (False, [])
    assert document["too_large"][0] == {
        "queue": "heavy", "place": "[queues.heavy]", "what": "memory_bytes",
        "needed": 256 * 2**20, "largest": 128 * 2**20, "worker": "one",
    }  # fmt: skip
    none_here = penstock("plan", "small", folder=folder, env=fake_gpus())
    assert "of a GPU, and no worker of this profile that serves it has one" in none_here.out


def test_profiles_are_listed(folder: Path) -> None:
    """Without a profile `up` starts nobody and shows all, as `plan` does."""
    listed = penstock("up", folder=folder)
    assert (listed.code, listed.out) == (0, penstock("plan", folder=folder).out)
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert names == ["profile", "minimal", "full", "datasets", "heavy", "light", "large"]


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        (["nope"], 3, "profile 'nope' is unknown: use one of minimal, full, "),
        (["full", "nothere:app"], 2, "module 'nothere' of app 'nothere:app' is not found"),
        (["full", "shop.py"], 2, "app 'shop.py' is not allowed"),
        (["full", "--restart-above", "1"], 2, "--restart-above '1' is not a size"),
        (["minimal", "--url", "memory:"], 2, "names jobs in the memory of one process"),
    ],
)
def test_a_wrong_call_starts_nobody(folder: Path, words: list[str], code: int, cause: str) -> None:
    """What can be seen before a worker is started is refused with the way out."""
    ended = penstock("up", *words, folder=folder)
    assert (ended.code, cause in ended.err) == (code, True), ended


def test_what_a_fleet_needs_of_its_file_is_named(folder: Path) -> None:
    """An app for each worker, and queues for `full`: the errors say what to write where."""
    (folder / "penstock.toml").write_text("[queues.a]\n")
    no_app = penstock("up", "full", folder=folder)
    assert 'or write app = "shop.jobs:app" below [profiles]' in no_app.err
    (folder / "penstock.toml").unlink()
    none = penstock("up", "full", "shop", "--json", folder=folder)
    assert (none.code, none.error["kind"]) == (3, "NotFound")
    assert "write [queues.NAME] for each in penstock.toml" in none.error["message"]


def _order(folder: Path, keys: str) -> FleetOrder:
    """Return the order for a fleet of one kind of worker, for the queue mail, with these keys."""
    text = f'[profiles.p]\napp = "shop:app"\n[profiles.p.w]\nqueues = ["mail"]\n{keys}\n'
    (folder / "penstock.toml").write_text(text)
    tables = load(environ={}, directory=folder).tables
    needed: list[Role] = roles_of(tables.profiles.by_name["p"], tables.queues)
    return FleetOrder(profile="p", roles=tuple(needed), host="here")


async def _until(look: Callable[[], bool], what: str) -> None:
    """Return once something is so; the loop goes on meanwhile."""
    await asyncio.to_thread(eventually, look, within_s=SOON_S, what=what)


def _state(folder: Path, job: str) -> str:
    return str(json.loads(penstock("job", job, "--json", folder=folder).out)["state"])


def test_workers_that_run_jobs_are_known_by_their_leases() -> None:
    """The name of a worker ends with the number of its process."""
    calm = Owner("worker-w-1@here@12-aa", "here", "boot", 1, 14, 1)
    busy = Owner("worker-w-2@here@13-bb", "here", "boot", 1, 15, 1)
    facts = [
        LeaseFacts(id=LeaseId("1" * 32), queues=("q",), owner=one, expires_in_ms=1, running=running)
        for one, running in ((calm, 0), (busy, 2), (busy, 0))
    ]
    assert busy_workers(facts) == {13}


def test_a_second_signal_is_sent_only_where_it_is_meant(folder: Path) -> None:
    """A worker that drains already is not told to release its jobs."""
    order = _order(folder, "max = 2")
    member = Member(order, order.roles[0], 1, Spawner(), environment(folder), lambda _: False)
    sent: list[int] = []
    member.process = cast("Process", SimpleNamespace(send_signal=sent.append))
    member.end()
    member.end()
    assert sent == [signal.SIGTERM]
    member.end(at_once=True)
    assert sent == [signal.SIGTERM] * 2


def test_one_bad_start_does_not_end_a_fleet_that_has_begun(folder: Path) -> None:
    """Exit code 2 ends the fleet only where no worker of that kind ever did better."""
    order, wrong = _order(folder, "max = 2"), ExitStatus(code=2, killed_by=None)
    for has_begun in (False, True):
        tell: Callable[[Role], bool] = [lambda _: False, lambda _: True][has_begun]
        member = Member(order, order.roles[0], 1, Spawner(), environment(folder), tell)
        assert member._ended(wrong, 1, 0.5) is not has_begun
