"""What a process asks of the Linux kernel about itself: prctl, which Python does not wrap."""

from __future__ import annotations

import ctypes
from enum import IntEnum


class Option(IntEnum):
    """Options of prctl, from linux/prctl.h."""

    PDEATHSIG = 1
    """The signal that this process gets when its parent dies."""
    DUMPABLE = 4
    """0: no process without privileges looks into this one, and it leaves no core file."""
    CHILD_SUBREAPER = 36
    """1: orphans below this process become its children."""
    NO_NEW_PRIVS = 38
    """1: no program that it starts gains privileges."""


def prctl(option: Option, value: int) -> None:
    """Set an option of this process. What the kernel does not know is left as it is."""
    ctypes.CDLL(None).prctl(int(option), value, 0, 0, 0)
