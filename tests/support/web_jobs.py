"""The jobs of the web applications under test; a worker loads this file and no web framework."""

from __future__ import annotations

import os

from penstock import App, current_job
from tests.support.trace import trace

app = App()


@app.task
def double(n: int, enqueued_by: int) -> int:
    """Write down that the job ran, for whom and where; return twice the number."""
    trace("ran", current_job().id, enqueued_by, os.getpid())
    return 2 * n
