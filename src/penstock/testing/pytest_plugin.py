"""Fixtures for pytest: name this module in `pytest_plugins` of your conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

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
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(Sandbox(app))
