"""What the workers of a profile need, and whether a machine has it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.broker.requests import QueueCounts
from penstock.config.machine import gpu_count
from penstock.config.resolve import load
from penstock.core.autoscale import Backlog
from penstock.core.need import sized_need
from penstock.fleet.backlog import backlog_of
from penstock.fleet.fitting import too_large
from penstock.fleet.role import Over, Resources, Role, excess, roles_of, total, unserved

FILE = """
[queues.training]
concurrency = 1
memory = "4GB"

[queues.mail]
concurrency = 8

[queues.loose]

[profiles.p.{worker}]
{keys}
"""
GB = 10**9


def one(folder: Path, keys: str, worker: str = "w") -> Role:
    """Return what the only worker of a profile needs, by its keys."""
    (folder / "penstock.toml").write_text(FILE.format(worker=worker, keys=keys))
    tables = load(environ={}, directory=folder).tables
    [found] = roles_of(tables.profiles.by_name["p"], tables.queues)
    return found


@pytest.mark.parametrize(
    ("keys", "concurrency", "memory_bytes", "cores"),
    [
        ('queues = ["training"]', 1, 4 * GB, 1),
        ('queues = ["training", "mail"]', 9, 4 * GB, 9),
        ('queues = ["training", "loose"]', None, 4 * GB, 1),
        ('queues = ["training"]\nconcurrency = 3\nmemory = "9GiB"', 3, 9 * 2**30, 3),
        ('queues = ["mail"]\ncores = 2', 8, None, 2),
        ('queues = ["mail", "elsewhere"]', None, None, 1),
        ('queues = ["elsewhere"]\nprocesses = 3', None, None, 3),
        ("", None, None, 1),
    ],
)
def test_what_a_table_does_not_say_follows_from_its_queues(
    tmp_path: Path, keys: str, concurrency: int | None, memory_bytes: int | None, cores: int
) -> None:
    """Slots are those of the queues, memory that of as many of their jobs; the table wins."""
    found = one(tmp_path, keys)
    assert (found.concurrency, found.memory_bytes) == (concurrency, memory_bytes)
    assert found.each == Resources(cores=cores, memory_bytes=memory_bytes or 0)
    assert found.flags.get("concurrency") == concurrency
    assert found.flags.get("memory") == memory_bytes


def test_what_a_machine_lacks_is_told_by_how_much() -> None:
    """A total at the bound fits; one above it is named with the difference."""
    here = Resources(cores=4, memory_bytes=8 * GB, gpus=1)
    assert excess(here, here) == []
    needed = Resources(cores=13, memory_bytes=8 * GB, gpus=2)
    assert excess(needed, here) == [
        Over(what="cores", needed=13, here=4, over=9),
        Over(what="gpus", needed=2, here=1, over=1),
    ]


def test_the_total_is_that_of_the_grown_fleet(tmp_path: Path) -> None:
    """A kind of worker that may grow counts as often as it may run at most."""
    found = one(tmp_path, 'queues = ["training"]\nmax = 3\ngpu_count = 1')
    assert total([found]) == Resources(cores=3, memory_bytes=12 * GB, gpus=3)


def test_queues_that_nobody_serves_are_named(tmp_path: Path) -> None:
    """Each queue of the file that no worker of the profile serves; a worker for all serves all."""
    found = one(tmp_path, 'queues = ["mail"]')
    assert unserved([found], ["training", "mail", "training"]) == ["training"]
    assert unserved([one(tmp_path, "")], ["training"]) == []


def test_the_backlog_is_what_could_be_claimed() -> None:
    """Paused queues ask for nobody; a job counts as the mean of its queue's sizes."""
    counts = [
        QueueCounts(queue="a", queued=10, running=1),
        QueueCounts(queue="b", queued=7, running=2, paused=True),
        QueueCounts(queue="c", queued=5),
    ]
    needs = {"a": [sized_need(2**20), "shared"], "c": ["alone.auto.0123456789ab"]}
    assert backlog_of(["a", "b"], counts, needs) == Backlog(
        queued=10, queued_bytes=10 * 8 * 2**20, running=3
    )
    assert backlog_of([], counts, needs).queued == 15


def test_gpus_are_counted_as_the_driver_lists_them(tmp_path: Path) -> None:
    """One folder per GPU; where there is no driver there is none."""
    assert gpu_count(tmp_path / "gpus") == 0
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:02:00.0").mkdir()
    assert gpu_count(tmp_path / "gpus") == 2


LARGE = """
[queues.training]
memory = "4GB"

[queues.render]
gpu_memory = "24GiB"

[queues.auto]
memory = "auto"

[routes]
"films.*" = {{ queue = "auto", memory = "3GB" }}
"loose.*" = {{ memory = "99GB" }}
"mail.*" = "mail"

[profiles.p.first]
{first}

[profiles.p.second]
{second}
"""


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        # A worker that says no memory has that of its queues.
        ('queues = ["training"]', 'queues = ["render"]\ngpus = [1]', []),
        # The same words on both sides say the same size.
        ('queues = ["training"]\nmemory = "4GB"', 'queues = ["render"]\ngpus = [1]', []),
        # One that holds it is enough.
        ('queues = ["training"]\nmemory = "1GB"', 'memory = "9GB"\ngpus = [1]', []),
        (
            'queues = ["training", "auto"]\nmemory = "1GB"',
            'queues = ["training"]\nmemory = "2GB"',
            [
                ("training", "[queues.training]", "memory_bytes", 4 * GB, 1908 * 2**20, "second"),
                ("auto", "[routes], line films.*", "memory_bytes", 3 * GB, 954 * 2**20, "first"),
            ],
        ),
        # Nobody says anything: what the settings say.
        (
            "",
            'queues = ["mail"]\ngpus = [1]',
            [
                ("training", "[queues.training]", "memory_bytes", 4 * GB, GB, "first"),
                ("render", "[queues.render]", "gpu_memory_bytes", 24 * 2**30, 8 * 2**30, "first"),
                ("auto", "[routes], line films.*", "memory_bytes", 3 * GB, GB, "first"),
            ],
        ),
        (
            'queues = ["render"]\ngpus = "none"',
            'queues = ["elsewhere"]',
            [("render", "[queues.render]", "gpu_memory_bytes", 24 * 2**30, 0, "first")],
        ),
    ],
)
def test_a_queue_whose_jobs_no_worker_holds_is_named(
    tmp_path: Path, first: str, second: str, found: list[tuple[str, str, str, int, int, str]]
) -> None:
    """With the largest worker that serves it, by memory and by that of one GPU."""
    (tmp_path / "penstock.toml").write_text(LARGE.format(first=first, second=second))
    tables = load(environ={}, directory=tmp_path).tables
    sizes = {"none": 0, "[1]": 80 * 2**30, "None": 8 * 2**30}
    told = too_large(
        roles_of(tables.profiles.by_name["p"], tables.queues),
        tables.queues,
        tables.routes,
        budget_bytes=GB,
        gpu_bytes=lambda role: sizes[str(role.table.settings.get("gpus"))],
    )
    assert [msgspec.structs.astuple(one) for one in told] == found
