"""The app of the tests of children that never get ready: its import hangs in one kind of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from penstock import App
from tests.support.trace import trace

#: Variable: how many threads the children are made for whose import hangs.
HANGING_ENV = "HANGING_THREADS"
#: Ends the name of a file beside the trace, for as long as whose absence an import hangs.
GO_ON = "-go-on"

if os.environ.get("PENSTOCK_CHILD") and (
    os.environ.get(HANGING_ENV) == os.environ["RAYON_NUM_THREADS"]
):
    trace("hangs", os.getpid())
    while not Path(os.environ["SUPERVISED_TRACE"] + GO_ON).exists():
        time.sleep(0.05)

app = App()


@app.task(cpus=2, timeout="60s")
def wide() -> int:
    """Run in a child for two threads; return its pid."""
    return os.getpid()


@app.task(isolation="process")
def narrow() -> int:
    """Run in any child; return its pid."""
    return os.getpid()
