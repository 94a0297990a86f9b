"""A child that is made for one attempt, which may be told to end before it is ready."""

from __future__ import annotations

from .child_end import Mark
from .child_kinds import ChildKind
from .child_pool import ChildPool
from .child_process import ChildProcess


class Making:
    """Gives a child to an attempt, or is given up by it."""

    def __init__(self, pool: ChildPool, kind: ChildKind) -> None:
        """Make nothing yet."""
        self._pool = pool
        self._kind = kind
        self._child: ChildProcess | None = None
        self._is_given_up = False

    async def child(self) -> ChildProcess:
        """Return the child once it is ready.

        Raises:
            ChildFailed: it could not be made, or was given up; it is gone again.
        """
        return await self._pool.make(self._kind, self._born)

    def give_up(self) -> None:
        """Kill the child, wherever its import or a start hook has come to."""
        self._is_given_up = True
        if self._child is not None:
            self._child.end(Mark.DRAIN)

    def _born(self, child: ChildProcess) -> None:
        self._child = child
        if self._is_given_up:
            # Race: the attempt was told so while other children were cleared away for this one.
            child.end(Mark.DRAIN)
