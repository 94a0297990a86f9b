"""The app that a command line names: "module:attribute", found from the working directory."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.errors import BadSetting, UsageError

if TYPE_CHECKING:
    from penstock.app import App

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


def load_app(text: str) -> App:
    """Import the app and the modules that it includes.

    Raises:
        BadSetting: there is no such module or attribute, or it is no App.
        UsageError: the module raised while it was imported.
    """
    import importlib

    from penstock.worker import app_loading

    module_name, _, attribute = whole_target(text).partition(":")
    find_from_here()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not app_loading.is_missing(module_name, error):
            raise _broken(module_name, error) from error
        raise app_loading.not_found(text, error) from error
    except Exception as error:
        raise _broken(module_name, error) from error
    app = app_loading.app_in(module, attribute)
    app.load()
    return app


def _broken(module: str, error: Exception) -> UsageError:
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    last = frames[-1] if frames else None
    place = f" ({last.filename}, line {last.lineno})" if last else ""
    return UsageError(
        f"module {module!r} cannot be imported: {type(error).__name__}: {error}{place}; --debug "
        "shows the traceback"
    )
