"""The tasks of the demo: an ordinary app, served by `penstock worker penstock.demo.tasks:app`."""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from pathlib import Path
from typing import Final

import msgspec

from penstock import App, Exponential, current_job
from penstock.demo.analysis import FileFacts, Report, facts_of, merge
from penstock.demo.report import page

QUEUE: Final = "demo"
#: Short waits, so that the demo shows retries in a second; without jitter, so that they can be
#: told from the stored times.
_BACKOFF: Final = Exponential(base="0.2s", cap="1s", jitter="none")
#: Attempts that `unsteady` needs: it fails twice and then succeeds.
ATTEMPTS_NEEDED: Final = 3
#: Seconds for which `fingerprint` stands still to be killed; past that nobody plays the demo.
_HOLD_S: Final = 20.0

#: One thread of a process parses at a time; they would take turns in any case.
_PARSER: Final = threading.Lock()

app = App()


class Chain(msgspec.Struct, frozen=True):
    """How far a fingerprint is: the digest over the first `done` files."""

    done: int
    digest: str


@app.on_runner_start
def quiet_parser() -> None:
    """Keep the parser's opinions about other people's files out of the worker's log."""
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


@app.task(queue=QUEUE)
def analyse(path: str) -> FileFacts:
    """Return the facts of one file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        # It was there when the job was enqueued; that it is gone is a fact about it too.
        return FileFacts(path=path, kind="unread", bytes=0, lines=0, flaw=str(error))
    # Race: the parser of CPython 3.11 counts its depth per interpreter; two threads that parse at
    # once end in `SystemError: AST constructor recursion depth mismatch`, some once in 100 files.
    with _PARSER:
        return facts_of(path, content)


@app.task(queue=QUEUE, name="penstock.demo.tasks.merge")
def merge_all(job_ids: list[str], report: str) -> Report:
    """Merge the results of finished analysis jobs, and write the report; twice is harmless."""
    facts = (msgspec.convert(app.job(job_id).result(), FileFacts) for job_id in job_ids)
    merged = msgspec.structs.replace(merge(facts), path=report)
    draft = Path(f"{report}.{current_job().claim_number}")
    draft.write_text(page(merged), encoding="utf-8")
    draft.replace(report)
    return merged


@app.task(queue=QUEUE, priority=10)
def fingerprint(paths: list[str]) -> Chain:
    """Return one digest over all files, in order; keep a checkpoint half way.

    Its first run stands still at the checkpoint, until the demo kills the runner under it; the
    next run goes on from there.
    """
    job = current_job()
    chain = job.last_checkpoint(Chain) or Chain(0, "")
    half = max(1, len(paths) // 2)
    for done, path in enumerate(paths[chain.done :], start=chain.done + 1):
        chain = Chain(done, next_digest(chain.digest, path))
        if done == half and job.last_checkpoint() is None:
            job.progress({"done": done, "of": len(paths)})
            job.checkpoint(chain)
            _stand_still()
    job.progress({"done": chain.done, "of": len(paths)})
    return chain


def next_digest(digest: str, path: str) -> str:
    """Return the digest of a chain that goes on with one more file."""
    return hashlib.sha256(digest.encode() + Path(path).read_bytes()).hexdigest()


def _stand_still() -> None:
    ends = time.monotonic() + _HOLD_S
    while time.monotonic() < ends:
        time.sleep(0.01)
    raise TimeoutError(f"nobody killed this runner within {_HOLD_S:g} s; the demo does")


# A retry queues up behind all jobs of its priority: the higher one lets it be seen at once.
@app.task(queue=QUEUE, backoff=_BACKOFF, priority=8)
def unsteady(path: str) -> int:
    """Fail twice, then return the number of lines of a file."""
    attempt = current_job().attempt
    if attempt < ATTEMPTS_NEEDED:
        raise ConnectionError(f"attempt {attempt} of {ATTEMPTS_NEEDED} fails, as the demo wants it")
    return Path(path).read_bytes().count(b"\n")


@app.task(queue=QUEUE, backoff=_BACKOFF, priority=8, retries=2)
def hopeless(path: str) -> bytes:
    """Read a file that does not exist: each attempt fails, and the job ends dead."""
    return Path(f"{path}.does-not-exist").read_bytes()


@app.task(queue=QUEUE, priority=10)
def kill_noted(job_id: str, pid: int, killed_at: int) -> None:
    """Keep in the broker, as this job's arguments, that the demo killed a runner, and when.

    The recovery time is then a difference of numbers that all stand in the broker.

    Args:
        job_id: the job that the runner was running.
        pid: the killed process.
        killed_at: instant just before the signal, milliseconds since 1970.
    """
    current_job().log(f"the demo sent SIGKILL to {pid}, which ran {job_id}, at {killed_at}")
