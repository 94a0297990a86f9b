"""What keeps the credentials of a worker from other processes of the same user."""

from __future__ import annotations

from penstock.executors.prctl import Option, prctl


def hide_from_user() -> None:
    """Let no process without privileges look into this one, be it of the same user.

    A child is of the same user as its supervisor and could else read the broker's URL and the keys
    out of `/proc/PID/environ`, or the memory itself. Debuggers need root from now on, and a crash
    leaves no core file. Programs that this process starts are not concerned.
    """
    prctl(Option.DUMPABLE, 0)
