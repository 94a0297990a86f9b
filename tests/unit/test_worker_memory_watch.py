"""The memory watch never sleeps while an attempt is under way, and ends what passes its limit."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from penstock.worker.supervisor.grants import Grant
from penstock.worker.supervisor.memory_watch import MemoryWatch

GIB = 2**30


def attempt(grant: Grant | None, *, has_child: bool = True, group: Any = None) -> Any:
    """Return an attempt whose child is this process, and may have a control group."""
    exceeded: list[int] = []
    seen: list[int] = []
    return SimpleNamespace(
        child=SimpleNamespace(pid=os.getpid(), group=group) if has_child else None,
        grant=grant,
        seen=seen,
        saw=seen.append,
        exceeded=exceeded,
        exceed=exceeded.append,
    )


def test_it_sleeps_only_while_nothing_is_under_way() -> None:
    """An attempt whose child is still being made rings no bell when it begins."""
    assert MemoryWatch(list).look() is None
    for one in (attempt(None, has_child=False), attempt(Grant(1, 1), has_child=False)):
        assert MemoryWatch(lambda one=one: [one]).look() is not None  # type: ignore[misc]


def test_what_passes_its_limit_is_ended() -> None:
    """And what does not is looked at again, the sooner the nearer it is."""
    over, far = attempt(Grant(1, 1)), attempt(Grant(64 * GIB, 64 * GIB))
    assert MemoryWatch(lambda: [over]).look() is not None
    assert len(over.exceeded) == 1
    far_s = MemoryWatch(lambda: [far]).look()
    near = attempt(Grant(GIB, max(far.seen) + 2**24))
    near_s = MemoryWatch(lambda: [near]).look()
    assert far.exceeded == near.exceeded == []
    assert near_s is not None
    assert far_s is not None
    assert near_s < far_s


def test_a_group_tells_what_is_held_and_what_the_kernel_killed() -> None:
    """Where there is one it is asked, and not /proc; what a kill of the kernel left goes too."""
    calm = attempt(Grant(GIB, GIB), group=SimpleNamespace(look=lambda: 7, kills=0))
    killed = attempt(Grant(GIB, GIB), group=SimpleNamespace(look=lambda: 7, kills=1))
    assert MemoryWatch(lambda: [calm, killed]).look() is not None
    assert (calm.seen, calm.exceeded) == ([7], [])
    assert killed.exceeded == [7]


def test_what_has_no_limit_is_measured_only() -> None:
    """It runs as it likes; what it takes is known."""
    free = attempt(Grant(1, None))
    assert MemoryWatch(lambda: [free]).look() is not None
    assert free.exceeded == []
    assert max(free.seen) > 0
