"""Imports the modules that hold an app's tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from penstock.errors import UsageError


class Includes:
    """Modules and packages to be imported when the app is loaded, in the order given.

    Args:
        modules: dotted names.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        if isinstance(modules, str):
            modules = [modules]
        self._modules = list(modules)
        self._packages: list[str] = []

    def discover(self, packages: Iterable[str]) -> None:
        """Add packages whose `tasks` modules are to be found."""
        self._packages += packages

    def load(self) -> None:
        """Import all.

        Raises:
            UsageError: there is no such module; what it raises itself passes through.
        """
        for module in self._modules:
            _import(module)
        for package in self._packages:
            for module in list(_tasks_modules(package)):
                _import(module)


def _import(name: str) -> object:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise UsageError(
            f"module {name!r} of the app cannot be imported, {error.name!r} is not found: mend the "
            "name, or start in the folder that holds it"
        ) from error


def _tasks_modules(package: str) -> Iterator[str]:
    """Yield the `tasks` modules of a package and of all packages below it."""
    import pkgutil

    root = _import(package)
    found = False
    for module in pkgutil.walk_packages(
        getattr(root, "__path__", []), prefix=f"{package}.", onerror=_fail
    ):
        if module.name.rpartition(".")[2] == "tasks":
            found = True
            yield module.name
    if not found:
        raise UsageError(
            f"package {package!r} has no module named `tasks`, nor has a package below it: name "
            "the modules in App(include=[...]) instead"
        )


def _fail(name: str) -> None:
    raise UsageError(f"package {name!r} cannot be imported while looking for tasks")
