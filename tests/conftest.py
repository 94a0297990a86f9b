"""What every test shares: an environment without settings, how Hypothesis searches, a Redis."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

# No deadline: it measures the machine, and no test asserts speed.
settings.register_profile("penstock", deadline=None, print_blob=True)
settings.load_profile("penstock")

# A shell that starts the tests in the background has them ignore SIGINT, and what they start would
# inherit that and never notice Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the PENSTOCK_* variables of whoever runs the tests away from them."""
    for variable in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)


@pytest.fixture(scope="session", autouse=True)
def _no_groups_left() -> Iterator[None]:
    """Remove the memory groups that workers have left which a test had killed.

    Another worker would, in the same place; the last ones find none.
    """
    yield
    from penstock.broker.clock import SystemClock
    from penstock.executors.cgroups import NoGroups, own_group
    from penstock.worker.supervisor.groups import sweep
    from penstock.worker.supervisor.identity import Identity

    with contextlib.suppress(NoGroups):
        sweep(own_group(), Identity.of_this_process(SystemClock().boot_id))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis server for the tests of one module, which empty it before use."""
    from tests.support.redis_server import redis_in_memory

    with redis_in_memory() as running:
        yield running
