"""Who runs mixed work: Penstock, and peers as tuned by hand as their options go.

A contestant may be several workers: `worker` is the command of the first, `MORE` of the others.
Where one has a queue for heavy jobs and a worker for it (`split`), two heavy ones fit into 6 GiB at
most, since it knows nothing of their sizes.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contestants import Contestant
from benchmarks.entries.redis import size

#: What a contestant takes part in.
MIXED, HEAD = frozenset({"mixed_8gib", "mixed_6gib"}), frozenset({"head_of_line"})
#: Further workers of a contestant, by its name and variant.
MORE: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {}
#: Jobs at once of the heavy worker of who is split: 2 x 2.5 GiB and the workers fit into 6 GiB.
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "warning")
#: Results are counted by the marks of the bodies.
_NO_COUNT = size("DBSIZE", "")


def everybody() -> list[Contestant]:
    """Return everybody, Penstock first."""
    return [*penstock(), *celery(), *rq(), *taskito()]


def penstock() -> list[Contestant]:
    """Return Penstock with a hint of the size, without one, and behind two long jobs."""
    command = ("penstock", "worker", "mixed_penstock:app", "--log-level", "warning")
    budget = (*command, "--memory", "6GiB", "--concurrency", "4")
    hint = Contestant("penstock", "hint", "mixed_penstock", budget, _NO_COUNT, None, 0, MIXED)
    return [
        hint,
        replace(hint, variant="blind"),
        replace(hint, variant="declared", worker=(*command, "--concurrency", "2"), measures=HEAD),
        replace(hint, variant="plain", worker=(*command, "--concurrency", "2"), measures=HEAD),
    ]


def celery() -> list[Contestant]:
    """Return Celery prefork with 2, 4 and 8 processes, and with a worker for each kind."""
    command = ("celery", "-A", "mixed_celery", "worker", *_QUIET, "-P", "prefork")
    found = [
        Contestant(
            "celery", f"c{count}", "mixed_celery", (*command, "-Q", "light", "-c", str(count)),
            _NO_COUNT, "celery", 0, MIXED | HEAD if count == 2 else MIXED,
        )
        for count in (2, 4, 8)
    ]  # fmt: skip
    split = (*command, "-n", "heavy@%h", "-Q", "heavy", "-c", "2")
    MORE["celery", "split"] = ((*command, "-n", "light@%h", "-Q", "light", "-c", "2"),)
    return [*found, replace(found[0], variant="split", worker=split, measures=MIXED)]


def rq() -> list[Contestant]:
    """Return RQ with a pool of 2 workers, and with a pool for each kind."""
    command = ("rq", "worker-pool", "--path", "{peers}", "--quiet")
    found = [
        Contestant(
            "rq", f"n{count}", "mixed_rq", (*command, "-n", str(count), "light"),
            _NO_COUNT, "rq", 0, MIXED | HEAD if count == 2 else MIXED,
            variables=(("RQ_REDIS_URL", "{url}"),),
        )
        for count in (2,)
    ]  # fmt: skip
    split = (*command, "-n", "2", "heavy")
    MORE["rq", "split"] = ((*command, "-n", "2", "light"),)
    return [*found, replace(found[0], variant="split", worker=split, measures=MIXED)]


def taskito() -> list[Contestant]:
    """Return taskito's pool of processes; it has SQLite only."""
    command = ("taskito", "worker", "--app", "mixed_taskito:queue", "--pool", "prefork")
    return [
        Contestant(
            "taskito", f"w{count}", "mixed_taskito", command,
            _NO_COUNT, "taskito", 0, MIXED | HEAD if count == 2 else MIXED,
        )
        for count in (2,)
    ]  # fmt: skip
