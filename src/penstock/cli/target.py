"""The app that a command line names: "module:attribute", found from the working directory."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from penstock.errors import BadSetting, UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from penstock.app import App

T = TypeVar("T")

#: Attribute where the target names only a module.
_ATTRIBUTE_DEFAULT: Final = "app"
_TARGET: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?\Z")

Target = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:APP",
        help="Module and attribute of the app; :app may be left out where it is called app.",
    ),
]


def whole_target(text: str) -> str:
    """Return "module:attribute", with the attribute filled in.

    Raises:
        BadSetting: it is neither "module" nor "module:attribute".
    """
    if not _TARGET.match(text) or text.endswith(".py"):
        hint = ""
        if text.endswith(".py") or "/" in text:
            hint = f"; for a file that is {Path(text).stem}:{_ATTRIBUTE_DEFAULT}, from its folder"
        raise BadSetting(
            f"app {text!r} is not allowed: give module:attribute, as shop.jobs:app{hint}"
        )
    return text if ":" in text else f"{text}:{_ATTRIBUTE_DEFAULT}"


def find_from_here() -> None:
    """Let modules be found in the working directory, as `python -m` does."""
    here = str(Path.cwd())
    if sys.path[:1] != [here]:
        sys.path.insert(0, here)


def check_module(app: str) -> None:
    """Refuse an app whose module is not there; what is wrong inside it, the first runner says.

    Raises:
        BadSetting: no such module is found from the working directory.
    """
    from importlib.util import find_spec

    find_from_here()
    package = app.partition(":")[0].partition(".")[0]
    if find_spec(package) is None:
        raise BadSetting(
            f"module {package!r} of app {app!r} is not found from {Path.cwd()}: start in the "
            "folder that holds it, or mend the name"
        )


def load_app(text: str) -> App:
    """Import the app and the modules that it includes.

    Raises:
        BadSetting: there is no such module or attribute, or it is no App.
        UsageError: the module raised while it was imported.
    """
    from penstock.worker import app_loading

    place = whole_target(text)
    module_name, _, attribute = place.partition(":")
    find_from_here()
    module = _imported(place, partial(_module, text, module_name))
    app = app_loading.app_in(module, attribute)
    _imported(place, app.load)
    return app


def _module(text: str, name: str) -> ModuleType:
    import importlib

    from penstock.worker import app_loading

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not app_loading.is_missing(name, error):
            raise
        raise app_loading.not_found(text, error) from error


def _imported(place: str, import_it: Callable[[], T]) -> T:
    """Return what `import_it` does; what a user's module raises there is told in one line."""
    from penstock.worker.error_text import import_failure, stored_error

    try:
        return import_it()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # SystemExit among them: left alone it would end the command with a code of the module's.
        stored = stored_error(error)
        if stored.traceback is None:
            raise
        raise UsageError(import_failure(place, stored)) from error
