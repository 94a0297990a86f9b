"""Starting a worker: what it refuses, what it tells, and what it never imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.worker.supervisor.plan import PLAN_FD_ENV, WorkerPlan, write_plan
from penstock.worker.supervisor.startup import EXIT_FAILED, EXIT_REFUSED, EXIT_USAGE
from tests.support import processes
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised

#: Package of the app, which stands for all user code.
USERS_PACKAGE = "tests"
#: What only the command line and the watching of memory need: a supervisor stays small without.
HEAVY = {"psutil", "pydantic", "rich", "typer"}


def run_supervisor(plan: WorkerPlan | None, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m penstock.worker` to its end."""
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), "PYTHONPATH": str(folder)}
    fds: tuple[int, ...] = ()
    if plan is not None:
        fds = (write_plan(plan),)
        env[PLAN_FD_ENV] = str(fds[0])
    try:
        return subprocess.run(
            [sys.executable, "-m", "penstock.worker"],
            cwd=folder,
            env=env,
            pass_fds=fds,
            capture_output=True,
            text=True,
            timeout=SOON_S,
            check=False,
        )
    finally:
        for fd in fds:
            os.close(fd)


def test_the_supervisor_imports_no_user_code(tmp_path: Path) -> None:
    """After it served jobs of all kinds, the app's package is not in its `sys.modules`."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        site.wait_final(*site.enqueue(tasks.wait.call(0.0), tasks.lone.call(0.0)))
        health = site.wait_health(worker, lambda one: one.ready, "readiness")
        assert "penstock" in health.modules
        assert not {USERS_PACKAGE, *HEAVY} & set(health.modules), health.modules


def test_an_app_that_cannot_be_imported_is_told_once(tmp_path: Path) -> None:
    """The worker fails, and its output holds the app's error with its place, once."""
    (tmp_path / "broken.py").write_text("import penstock\nraise RuntimeError('no such luck')\n")
    flags = {"url": f"sqlite:///{tmp_path}/p.db", "processes": "3"}
    done = run_supervisor(WorkerPlan(app="broken:app", flags=flags), tmp_path)
    assert done.returncode == EXIT_USAGE, done
    assert done.stderr.count("RuntimeError: no such luck") == 1, done.stderr
    assert "broken.py" in done.stderr, done.stderr
    assert "broken:app" in done.stderr, done.stderr


def test_an_app_that_kills_its_process_on_import_is_told(tmp_path: Path) -> None:
    """A runner that dies before it can say anything makes the worker fail, and the log says how."""
    (tmp_path / "deadly.py").write_text("import ctypes\nctypes.string_at(0)\n")
    flags = {"url": f"sqlite:///{tmp_path}/p.db"}
    done = run_supervisor(WorkerPlan(app="deadly:app", flags=flags), tmp_path)
    assert done.returncode == EXIT_FAILED, done
    assert "SIGSEGV" in done.stderr, done.stderr
    assert "deadly.py" in done.stderr, "the stack of the crash tells where"


@pytest.mark.parametrize(
    ("flags", "word", "code"),
    [
        ({"url": "memory://"}, "memory", EXIT_USAGE),
        ({"url": "nothing://somewhere"}, "nothing", EXIT_USAGE),
        ({"log_file": "/no/such/folder/log"}, "log_file", EXIT_REFUSED),
        ({"lease_ttl": "1s", "lease_extend": "900ms"}, "lease_extend", EXIT_REFUSED),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, flags: dict[str, str], word: str, code: int
) -> None:
    """A refused URL of the call ends with 2, other settings with 78; what was refused is named."""
    (tmp_path / "fine.py").write_text("from penstock import App\napp = App()\n")
    done = run_supervisor(WorkerPlan(app="fine:app", flags=flags), tmp_path)
    assert done.returncode == code, done
    assert word in done.stderr, done.stderr


def test_without_a_plan_the_way_out_is_named(tmp_path: Path) -> None:
    """Started by hand it ends with 2 and names the command that starts workers."""
    done = run_supervisor(None, tmp_path)
    assert (done.returncode, "penstock worker" in done.stderr) == (EXIT_USAGE, True), done


def test_a_plan_survives_its_descriptor_once() -> None:
    """What is written can be read back, and the descriptor is closed by the reading."""
    from penstock.worker.supervisor.plan import read_plan

    plan = WorkerPlan(app="a:b", flags={"url": "sqlite:///x"}, burst=True)
    descriptor = write_plan(plan)
    assert read_plan(descriptor) == plan
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_signal_before_the_app_is_imported_ends_the_worker_with_success(tmp_path: Path) -> None:
    """SIGTERM while the runner imports the app is a drain: exit code 0, nobody left behind."""
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_name('importing').touch()\n"
        "time.sleep(600)\n"
    )
    with Supervised(tmp_path) as site:
        site.extra["PYTHONPATH"] = str(tmp_path)
        worker = site.start(app="slow:app")
        eventually((tmp_path / "importing").exists, within_s=SOON_S, what="the import to begin")
        tree = worker.tree()
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(SOON_S) == 0
        assert not any(processes.is_alive(pid) for pid in tree), worker.report()


def test_a_signal_while_the_broker_does_not_answer_ends_the_worker(tmp_path: Path) -> None:
    """A worker that cannot open its lease yet has nothing to drain: it ends with success."""
    with Supervised(tmp_path) as site, site.locked_file():
        worker = site.start()
        worker.wait_log("the broker does not answer", within_s=SOON_S)
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(SOON_S) == 0, worker.report()


def test_the_command_line_of_no_process_holds_the_url(tmp_path: Path) -> None:
    """A URL may hold a password, and everyone on the host can read command lines."""
    with Supervised(tmp_path) as site:
        worker = site.start_ready()
        for pid in worker.tree():
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert site.file.name.encode() not in words, words
