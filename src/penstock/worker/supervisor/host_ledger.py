"""What the workers of one host have reserved together.

There is a ledger for the memory of the host, and one for each GPU. Each worker notes what it has
reserved, and may do so only where all together stay within what there is; so two workers that may
both use the whole machine do not both do so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

from .host_records import HostRecords, Record


class HostLedger:
    """What this worker has reserved, and those beside it."""

    def __init__(
        self, file: Path | None, owner: Record,
        *, is_alive: Callable[[Record], bool], what: str = "its memory",
    ) -> None:  # fmt: skip
        """Begin with nothing reserved; the arguments are those of `HostRecords`."""
        self._records = HostRecords(file, owner, is_alive=is_alive, what=what)
        self._seen = -1, b""
        self._seen_bytes = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the record back."""
        self.close()

    @property
    def is_shared(self) -> bool:
        """Whether there is a file that other workers see."""
        return self._records.is_shared

    def others_bytes(self) -> int:
        """Return what the other workers have reserved, or want left free."""
        if not self._records.is_shared:
            return 0
        # Race: without the lock a record may be half of a change old; only `take` decides.
        return self._others()

    def others_spare_bytes(self) -> int:
        """Return what of that they would give up if they were asked."""
        if not self._records.is_shared:
            return 0
        return sum(one.spare_bytes for one in self._records.others())

    def may_take(self) -> bool:
        """Return whether the lock is free: `take` refuses while another stands still in it."""
        if not self._records.is_shared:
            return True
        with self._records.locked() as is_locked:
            return is_locked

    def take(self, reserved_bytes: int, *, pool_bytes: int, spare_bytes: int = 0) -> bool:
        """Note what is reserved here, unless all together would pass the pool; return whether.

        Race: another worker may reserve between a look and this, so only this decides.

        Args:
            reserved_bytes: for jobs.
            pool_bytes: that there are.
            spare_bytes: further ones, which whoever takes this gives up where they are in the way.
        """
        if not self._records.is_shared:
            self.note(reserved_bytes, spare_bytes)
            return True
        with self._records.locked() as is_locked:
            if not is_locked:
                return False
            if reserved_bytes + self._others() > pool_bytes:
                self._records.drop_dead()
                if reserved_bytes + self._others() > pool_bytes:
                    return False
            self._records.write(self._reserving(reserved_bytes, spare_bytes))
            return True

    def note(self, reserved_bytes: int, spare_bytes: int = 0) -> None:
        """Note what is reserved here, as in `take`, whatever others have."""
        self._records.note(self._reserving(reserved_bytes, spare_bytes))

    def _reserving(self, reserved_bytes: int, spare_bytes: int) -> Record:
        return self._records.own._replace(
            reserved_bytes=reserved_bytes + spare_bytes, spare_bytes=spare_bytes
        )

    def ask(self, *, asks: bool) -> None:
        """Ask the others to give up what they have to spare, or ask no longer."""
        self._records.note(self._records.own._replace(asks=int(asks)))

    @property
    def is_asked(self) -> bool:
        """Whether another worker asks for what is to spare here."""
        return self._records.is_shared and any(one.asks for one in self._records.others())

    @property
    def wanted_bytes(self) -> int:
        """What others are asked to leave free for a large job here."""
        return self._records.own.wanted_bytes

    def hold_gate(self, wanted_bytes: int) -> bool:
        """Ask the others to leave so much free for a large job; return False if another one does.

        Invariant: one worker of a host holds the gate. Two would leave free for each other what
        neither of them may take.
        """
        own = self._records.own
        if not self._records.is_shared or (own.gate and own.wanted_bytes == wanted_bytes):
            return True
        with self._records.locked() as is_locked:
            if not is_locked:
                return False
            if any(other.gate for other in self._records.others()):
                self._records.drop_dead()
                if any(other.gate for other in self._records.others()):
                    return False
            self._records.write(self._records.own._replace(gate=1, wanted_bytes=wanted_bytes))
            return True

    def open_gate(self) -> None:
        """Hold it no longer."""
        self._records.note(self._records.own._replace(gate=0, wanted_bytes=0))

    def look_after(self) -> None:
        """Forget the dead, and write what could not be written; about once a second."""
        self._records.look_after()

    def close(self) -> None:
        """Give the record back, and let go of the file; the last worker removes it."""
        self._records.close()

    def _others(self) -> int:
        version = self._records.version
        if version != self._seen:
            # A gate is for memory that others have: what its holder has reserved is beside it.
            self._seen_bytes = sum(
                one.reserved_bytes + one.wanted_bytes for one in self._records.others()
            )
            self._seen = version
        return self._seen_bytes
