"""What children were made for, and which of the idle ones suits a job.

What a library reads from its environment when it is loaded, how many threads to start and which
GPUs to see, cannot be changed afterwards: it belongs to the child, so a job that needs another gets
another child. So does its share of a GPU: a library keeps what it once had of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from penstock.core.admission import Set
from penstock.core.demand import NO_DEMAND, demand_of

#: Follow OMP_NUM_THREADS where they are not set themselves: left alone with it. Source: the manuals
#: of OpenMP (6.2), OpenBLAS, oneMKL, BLIS and numexpr.
_OPENMP: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
#: Pools of their own. Source: the manuals of Rayon (Rust) and Polars.
_OTHERS: Final = ("RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
#: Says which devices CUDA shows to a process; it takes UUIDs. Source: CUDA C++ Programming Guide.
DEVICES_ENV: Final = "CUDA_VISIBLE_DEVICES"

C = TypeVar("C")


class ChildKind(NamedTuple):
    """What a child is made for.

    Attributes:
        threads: that a library which computes may start.
        devices: GPUs that it sees, by UUID; empty: what the worker itself sees.
        share_bytes: its part of the device; 0: it has whole ones, or none.
    """

    threads: int = 1
    devices: tuple[str, ...] = ()
    share_bytes: int = 0

    def sees_none_of(self, devices: Collection[str]) -> bool:
        """Return whether none of these GPUs is seen."""
        return set(self.devices).isdisjoint(devices)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that say so, but those that the worker's environment sets itself."""
        names = () if _OPENMP[0] in environ else _OPENMP
        told = {name: str(self.threads) for name in (*names, *_OTHERS) if name not in environ}
        if self.devices:
            told[DEVICES_ENV] = ",".join(self.devices)
        return told


PLAIN: Final = ChildKind()


def is_plain(need: str) -> bool:
    """Return whether jobs of a ready set run in any child; others often need one made for them."""
    demand = demand_of(need) or NO_DEMAND
    return not demand.takes_gpu and demand.threads == PLAIN.threads


def may_be_plain(sets: Sequence[Set]) -> bool:
    """Return whether jobs for any child may wait: in one of these sets, or nobody has looked."""
    return not sets or any(is_plain(need) for _, need in sets)


class ChildKinds(Generic[C]):
    """What each child was made for, and the task that it ran last. `C` names a child."""

    def __init__(self) -> None:
        """Know no child."""
        self._kinds: dict[C, ChildKind] = {}
        self._tasks: dict[C, str] = {}

    def made(self, child: C, kind: ChildKind) -> None:
        """Note what a child was made for."""
        self._kinds[child] = kind

    def begins(self, child: C, task: str) -> None:
        """Note that a child begins a job of a task."""
        self._tasks[child] = task

    def forget(self, child: C) -> None:
        """Forget a child."""
        self._kinds.pop(child, None)
        self._tasks.pop(child, None)

    def of(self, child: C) -> ChildKind:
        """Return what a child was made for."""
        return self._kinds.get(child, PLAIN)

    def suits(self, child: C, kind: ChildKind, task: str) -> bool:
        """Return whether a child may run a job.

        One that sees GPUs runs jobs of one task only: another task's would find its memory there.
        """
        is_same = self.of(child) == kind
        return is_same and (not kind.devices or self._tasks.get(child) == task)

    def on(self, devices: Collection[str], children: Iterable[C]) -> list[C]:
        """Return those of `children` that see one of these devices."""
        return [child for child in children if not self.of(child).sees_none_of(devices)]

    def warm(self, task: str, children: Iterable[C]) -> frozenset[str]:
        """Return the devices that those of `children` see which ran this task last."""
        own = (child for child in children if self._tasks.get(child) == task)
        return frozenset(uuid for child in own for uuid in self.of(child).devices)
