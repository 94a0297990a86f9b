"""The app of a test: what it imports takes more than its task declares."""

from __future__ import annotations

import time

from penstock import App, current_job

MIB = 2**20
#: Touched, as what a large library has read in: every child holds it before its job begins.
BALLAST = b"x" * (96 * MIB)

app = App()


@app.task(memory="8MiB")
def small() -> int:
    """Take nothing of its own; the first attempt stays until it is ended."""
    if current_job().claim_number == 1:
        time.sleep(600)
    return len(BALLAST)
