"""What every test shares: an environment without settings, and how Hypothesis searches."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# No deadline: it measures the machine, and no test asserts speed.
settings.register_profile("penstock", deadline=None, print_blob=True)
settings.load_profile("penstock")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the PENSTOCK_* variables of whoever runs the tests away from them."""
    for variable in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)
