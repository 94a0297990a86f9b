"""`penstock dead show --bundle` and `penstock replay`: a dead job dies here too, or does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.core.demand import Demand, need_with
from tests.support.command_line import Ended, penstock

JOBS = """
import os
import time
from penstock import App, Secret, current_job

app = App()

@app.task(memory="64MiB", oom_retries=0)
def hog(mib: int, token: Secret[str]) -> str:
    print("printed by the job", flush=True)
    current_job().log(f"taking {mib} MiB")
    current_job().progress({"of": mib})
    held = [bytearray(b"x" * 2**24) for _ in range(mib // 16)]
    time.sleep(0.1)
    note.enqueue()
    return token.reveal()

@app.task(retries=0)
def fails(n: int) -> None:
    raise ValueError(f"no {n}")

@app.task
def note() -> None: ...

@app.task(cpus=0.5, requires={"eu"}, resources={"license": 2})
def licensed() -> str:
    return os.environ["OMP_NUM_THREADS"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app of which two jobs have died: one in a child of its memory, one in a runner."""
    place = tmp_path_factory.mktemp("replay")
    (place / "jobs.py").write_text(JOBS)
    (place / "key").write_text(penstock("new-key", folder=place).out.strip())
    for task, arguments in (("hog", '{"mib":400,"token":"hunter2"}'), ("fails", '{"n":3}')):
        ended = call(place, "enqueue", "jobs", f"jobs.{task}", arguments, "-q")
        (place / f"{task}.id").write_text(ended.out.strip())
    call(place, "worker", "jobs:app", "--burst", "--memory", "1GiB")
    return place


def call(place: Path, *words: str, **env: str) -> Ended:
    """Run a command where the keys are known."""
    keys = (place / "key").read_text()
    return penstock(*words, folder=place, env={"PENSTOCK_SECRET_KEYS": keys, **env})


def bundle_of(place: Path, task: str) -> str:
    """Return the bundle of a dead job, in a file."""
    file = place / f"{task}.json"
    words = ("dead", "show", (place / f"{task}.id").read_text(), "--bundle", str(file))
    ended = call(place, *words, "--force")
    assert ended.code == 0, ended
    return str(file)


def test_what_ran_out_of_memory_does_so_here(folder: Path) -> None:
    """Under the same limit, with the same evidence; with more memory the same job completes."""
    file = bundle_of(folder, "hog")
    text = Path(file).read_text()
    assert "hunter2" not in text
    held = json.loads(text)
    assert held["worker"]["packages"] == held["here"]["packages"]
    assert (held["installed_on"], held["secrets"]) == ("worker", ["token"])
    assert held["worker"]["environment"]["LANG"] == "C.UTF-8"
    # The kernel may be quicker than the watch; what it saw before is there.
    assert max(most for _, most in held["curve"]) > 2**24
    (folder / "token").write_text("hunter2\n")
    secret = ("--secret", f"token=@{folder / 'token'}")
    died = penstock("replay", file, *secret, "--json", folder=folder)
    assert (died.code, died.document["outcome"]) == (1, "out_of_memory"), died
    # By the worker at its limit, or by the kernel a little above it.
    assert died.document["verdict"].startswith("out_of_memory: the ")
    assert died.document["usage"]["curve"]
    assert died.document["usage"]["peak_bytes"] > died.document["limit_bytes"] == 96 * 2**20
    assert "printed by the job" in died.err
    assert died.document["log"] == ["taking 400 MiB"]
    lived = penstock("replay", file, *secret, "--memory", "1GiB", "--json", folder=folder)
    assert (lived.code, lived.document["result"]) == (0, "hunter2"), lived
    assert (lived.document["progress"], lived.document["enqueued"]) == ({"of": 400}, 1)
    assert lived.document["usage"]["peak_bytes"] > 400 * 2**20
    assert lived.document["differs"] == []
    assert "curve" not in lived.document["usage"]


def test_what_failed_in_a_runner_fails_here(folder: Path) -> None:
    """Its error and traceback are shown, and where its app is, its task tells."""
    failed = penstock("replay", bundle_of(folder, "fails"), folder=folder)
    assert failed.code == 1, failed
    assert "ValueError: no 3" in failed.out
    assert 'jobs.py", line' in failed.out


def test_what_cannot_be_run_is_refused(folder: Path) -> None:
    """With the exit code of its kind, in one line."""
    file = bundle_of(folder, "hog")
    for code, words, more in (
        (2, "--secret token=@FILE", ()),
        (2, "is not a size", ("--memory", "2GB!")),
        (2, "module 'nowhere'", ("--app", "nowhere", "--secret", "token=env:HOME")),
        (3, "does not exist", None),
    ):
        call_words = ("replay", f"{file}.none") if more is None else ("replay", file, *more)
        ended = penstock(*call_words, folder=folder)
        assert ended.code == code, ended
        assert words in ended.err, ended


def test_what_needs_more_than_memory_finds_it_here(folder: Path) -> None:
    """Labels and counted things belong to the machine that it died on: they are taken as given."""
    need = need_with(Demand(cpus_milli=1_500, labels=("eu",), resources=(("license", 2),)), "alone")
    job = {"id": "1" * 32, "queue": "q", "task": "jobs.licensed", "need": need, "arguments": {}}
    (folder / "licensed.json").write_text(json.dumps({"bundle": 1, "job": job}))
    ended = penstock("replay", "licensed.json", "--json", folder=folder)
    assert (ended.code, ended.document["result"]) == (0, "2"), ended
    job["need"] = "takes.x1:alone"
    (folder / "newer.json").write_text(json.dumps({"bundle": 1, "job": job}))
    refused = penstock("replay", "newer.json", folder=folder)
    assert (refused.code, "newer Penstock" in refused.err) == (2, True), refused
