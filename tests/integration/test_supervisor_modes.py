"""Burst and reload, and what is kept and logged on the way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import msgspec

from penstock.core.lifecycle import State
from tests.support import supervised_app as tasks
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised

VERSIONED = """
from penstock import App
app = App()
@app.task(name="version")
def version() -> str:
    return "{0}"
@app.task(name="version_alone", isolation="process")
def version_alone() -> str:
    return "{0}"
"""


def test_burst_ends_once_everything_is_done(tmp_path: Path) -> None:
    """Jobs of all kinds, retries that are due soon and what jobs enqueue are done; then it ends."""
    with Supervised(tmp_path) as site:
        jobs = site.enqueue(
            tasks.wait.call(0.1),
            tasks.work.call(0.1),
            tasks.lone.call(0.1),
            tasks.lone_end.call("exit"),
            tasks.kill_own_process.call(times=1),
            tasks.lone_enqueues.call(2),
        )
        worker = site.start("--burst")
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        for job in jobs:
            assert site.record(job).state is State.COMPLETED, site.report(job)
        (counts,) = site.broker.counts()
        assert counts.completed == len(jobs) + 2, counts


def test_burst_without_work_ends_at_once(tmp_path: Path) -> None:
    """There is nothing to wait for in empty queues, nor in a paused one."""
    with Supervised(tmp_path) as site:
        (stuck,) = site.enqueue(tasks.wait.call(0.0))
        site.broker.pause("default")
        worker = site.start("--burst")
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        assert site.record(stuck).state is State.QUEUED


def test_burst_leaves_what_no_part_of_it_takes(tmp_path: Path) -> None:
    """Jobs of an unknown ready set are told of, start no runner again, and it ends without them."""
    with Supervised(tmp_path) as site:
        stuck = site.enqueue(tasks.wait.call(0.0), tasks.work.call(0.0))
        with closing(apsw.Connection(str(site.file))) as connection:
            connection.execute("UPDATE job SET need = '??rubbish'")
        (done,) = site.enqueue(tasks.wait.call(0.0))
        worker = site.start("--burst", processes="1")
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        assert "2 jobs wait that this worker cannot take" in worker.log(), worker.report()
        assert "??rubbish" in worker.log(), worker.report()
        assert worker.log().count("is ready") == 1, worker.report()
        assert site.record(done).state is State.COMPLETED, site.report(done)
        assert [site.record(job).state for job in stuck] == [State.QUEUED] * 2


def test_burst_ends_without_what_is_too_large_for_it(tmp_path: Path) -> None:
    """Although other jobs for children were there, for which runners gave up their slots."""
    with Supervised(tmp_path, memory="500MiB") as site:
        (large,) = site.enqueue(tasks.lone.using(memory="510MiB").call(0.0, "large"))
        (small,) = site.enqueue(tasks.lone.using(memory="100MiB").call(0.0, "small"))
        worker = site.start("--burst", processes="1")
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        assert "1 job waits that this worker cannot take (it may reserve 500 MiB)" in worker.log()
        assert "queue default: more than 500 MiB of memory" in worker.log(), worker.report()
        assert site.record(small).state is State.COMPLETED
        assert site.record(large).state is State.QUEUED


def test_reload_follows_the_source(tmp_path: Path) -> None:
    """After a change runners and children run the new code; broken code leaves the old at work."""
    source = tmp_path / "project"
    source.mkdir()
    module = source / "versioned.py"
    module.write_text(VERSIONED.format("one"))
    with Supervised(tmp_path) as site:
        worker = site.start("--reload", app="versioned:app", cwd=source)
        version = site.app.task(name="version")(lambda: "")
        lone = site.app.task(name="version_alone", isolation="process")(lambda: "")
        assert (site.result(version), site.result(lone)) == ("one", "one")
        module.write_text("import no_such_module\n")
        worker.wait_log("the old code goes on", within_s=SOON_S)
        assert (site.result(version), site.result(lone)) == ("one", "one")
        module.write_text(VERSIONED.format("two!"))
        eventually(
            lambda: (site.result(version), site.result(lone)) == ("two!", "two!"),
            within_s=SOON_S,
            what="the new code to run",
            state=worker.report,
        )


def test_jobs_past_their_deadline_expire_unasked(tmp_path: Path) -> None:
    """A delayed job expires by maintenance, without a claim that looks at it."""
    with Supervised(tmp_path) as site:
        site.start_ready()
        (job,) = site.enqueue(tasks.wait.using(delay="1h", expires="100ms").call(0.0))
        (record,) = site.wait_final(job)
        assert record.state is State.EXPIRED, record


def test_a_log_file_gets_the_lines_of_all_processes(tmp_path: Path) -> None:
    """Supervisor, runner and child append to the file what they write to standard error."""
    log = tmp_path / "worker.log"
    with Supervised(tmp_path, log_file=str(log)) as site:
        worker = site.start_ready()
        site.wait_final(
            *site.enqueue(tasks.log_line.call("light"), tasks.lone_log_line.call("alone"))
        )
        worker.wait_log("alone was here", within_s=SOON_S)
        text = log.read_text()
        for words in ("serves default", "light was here", "alone was here"):
            assert text.count(words) == 1, text


def test_log_lines_of_settlements_name_their_job(tmp_path: Path) -> None:
    """In JSON logs the line of a settlement carries job, task, attempt and queue."""
    with Supervised(tmp_path, log_format="json") as site:
        worker = site.start_ready()
        (job,) = site.enqueue(tasks.lone_end.call("exit"))
        site.wait_final(job)
        lines = [msgspec.json.decode(one) for one in worker.log().splitlines() if job.id in one]
        told = [one for one in lines if one.get("outcome") == "crashed"]
        assert told, worker.log()
        assert told[0]["job"] == job.id
        assert (told[0]["attempt"], told[0]["queue"]) == (1, "default")
        assert told[0]["level"] == "info"
