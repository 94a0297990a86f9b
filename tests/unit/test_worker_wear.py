"""What jobs leave in a warm child: whose it is, and when the child has to go for it."""

from __future__ import annotations

from penstock.core.usage import Usage
from penstock.executors.memory_group import Taken
from penstock.executors.procfs import Holdings
from penstock.worker.measured import Measured
from penstock.worker.supervisor.grants import Grant
from penstock.worker.supervisor.leftovers import Grown, Wear
from penstock.worker.supervisor.takings import usage_of

MIB = 2**20


def holding(mib: int) -> Holdings:
    """Return what a process of that size holds."""
    return Holdings(resident_bytes=mib * MIB, descriptors=10)


def test_growth_is_the_job_before() -> None:
    """The first run of a task in a child warms it up; what later ones leave is theirs."""
    wear = Wear(0.0)
    assert wear.begins("a", 30) is None, "nothing ran before"
    assert wear.begins("a", 50) is None, "the first run of a"
    assert wear.begins("b", 51) == Grown("a", 1)
    assert wear.begins("a", 90) is None, "the first run of b"
    assert wear.begins("b", 85) == Grown("a", -5)
    assert wear.begins("b", 86) == Grown("b", 1)
    assert wear.ends(99) == Grown("b", 13)
    assert wear.ends(99) is None, "it is told once"


def test_a_child_goes_once_it_has_grown_into_its_reservation() -> None:
    """By a twentieth, and 16 MiB at least, since its first job; without a limit nothing is kept."""
    wear = Wear(0.0)
    assert not wear.has_leaked(holding(500)), "no job with a limit ran"
    wear.reserved_bytes = 128 * MIB
    assert not wear.has_leaked(holding(80)), "after the first job it is warm"
    assert not wear.has_leaked(holding(96))
    assert wear.has_leaked(holding(97))
    assert not wear.has_leaked(None)
    wear.reserved_bytes = 1024 * MIB
    assert not wear.has_leaked(holding(131))
    assert wear.has_leaked(holding(132))


def test_the_group_and_the_child_tell_of_one_peak() -> None:
    """The larger counts, without the files that the job has mapped; other ways stand behind."""
    grant = Grant(200, 240)
    own = Measured(baseline_bytes=50, peak_bytes=170, cpu_ms=3, file_bytes=60)
    group = Taken(baseline_bytes=40, peak_bytes=120, kills=0)
    assert usage_of(100, grant, own, group) == Usage(
        peak_bytes=120,
        baseline_bytes=40,
        reserved_bytes=200,
        limit_bytes=240,
        measured="cgroup",
        cpu_ms=3,
    )
    high = Measured(baseline_bytes=50, peak_bytes=190, cpu_ms=3, file_bytes=60)
    assert usage_of(100, grant, high, group).peak_bytes == 130
    silent = usage_of(100, grant, None, group)
    assert (silent.peak_bytes, silent.measured, silent.cpu_ms) == (120, "cgroup", None)
    alone = usage_of(100, grant, own)
    assert (alone.peak_bytes, alone.measured) == (170, "hwm")
