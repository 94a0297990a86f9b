"""What every test shares: an environment without settings, and how Hypothesis searches."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: it measures the machine, and no test asserts speed.
settings.register_profile("penstock", deadline=None, print_blob=True)
settings.load_profile("penstock")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the PENSTOCK_* variables of whoever runs the tests away from them."""
    with monkeypatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("PENSTOCK_")]:
            patch.delenv(variable)
        yield
