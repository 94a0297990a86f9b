"""From "module:attribute" to the app, in the processes that run user code."""

from __future__ import annotations

import importlib
from typing import Any

from penstock.app import App
from penstock.errors import BadSetting


def load_app(place: str) -> App:
    """Import the app, and the modules that hold its tasks.

    Args:
        place: "module:attribute", as in `shop.jobs:app`; the attribute may be dotted.

    Raises:
        BadSetting: the place is not written so, no App is there, or an `on_dead` names no task.
        BaseException: what the modules raise.
    """
    module, _, attribute = place.partition(":")
    if not module or not attribute:
        raise BadSetting(f"app {place!r} is no place: write module:attribute, as in shop.jobs:app")
    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, App):
        raise BadSetting(
            f"app {place!r} is {type(found).__name__}: name the attribute that holds penstock.App"
        )
    found.load()
    found.registry.check_on_dead()
    return found
