"""From "module:attribute" to the app, in the processes that run user code."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
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
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not is_missing(module, error):
            raise
        raise not_found(place, error) from None
    app = app_in(imported, attribute)
    app.load()
    app.registry.check_on_dead()
    return app


def app_in(module: ModuleType, attribute: str) -> App:
    """Return the app that an imported module holds.

    Raises:
        BadSetting: no App is there; the message names those that are.
    """
    found: Any = module
    for name in attribute.split("."):
        found = getattr(found, name, None)
    if isinstance(found, App):
        return found
    there = [name for name, value in vars(module).items() if isinstance(value, App)]
    hint = f"it has {', '.join(there)}" if there else "it has no App at all"
    raise BadSetting(f"module {module.__name__!r} has no App called {attribute!r}: {hint}")


def is_missing(module: str, error: ModuleNotFoundError) -> bool:
    """Tell whether it is `module` that is not there, and not one that it imports."""
    return error.name is not None and f"{module}.".startswith(f"{error.name}.")


def not_found(place: str, error: ModuleNotFoundError) -> BadSetting:
    """Return the error for a place whose module is not there."""
    return BadSetting(
        f"module {error.name!r} of app {place!r} is not found from {Path.cwd()}: start in the "
        "folder that holds it, or mend the name"
    )
