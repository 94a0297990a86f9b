"""Fixtures for pytest; pytest finds them by itself where Penstock is installed.

It is loaded by every run of pytest there, so that it imports nothing until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.testing.sandbox import Sandbox


@pytest.fixture
def penstock_sandbox() -> Iterator[Callable[[App], Sandbox]]:
    """Return a function from an app to its sandbox, open until the end of the test.

        def test_report(penstock_sandbox):
            sandbox = penstock_sandbox(app)
            job = report.enqueue(7)
            sandbox.drain()
            assert job.result() == "seven"

    For `async def` tests: `await sandbox.adrain()` works in the sandbox that this gives, too.
    """
    from penstock.testing.sandbox import Sandbox

    with ExitStack() as stack:
        yield lambda app: stack.enter_context(Sandbox(app))
