"""What signals are called."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """Return what a signal is called: "SIGKILL", or "signal 40" where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
