"""The page of errors: the tree of classes, and what is known after each."""

from __future__ import annotations

import inspect
from types import ModuleType

from penstock import errors, signals
from scripts.reference.docstring import markdown


def page() -> str:
    """Return the page."""
    return f"""\
# Errors

Everything that Penstock raises is below `PenstockError`, in `penstock.errors`, and is cut by whose
fault it is. "Definite" means that nothing was written and calling again is safe.

```text
{_tree(errors.PenstockError)}
```

{_sections(errors)}

## Signals

A task raises these to steer its own attempt, or gets them raised into it. They stand outside
`PenstockError`, so that `except PenstockError` in a task does not swallow them.

{_sections(signals)}
"""


def _classes(module: ModuleType) -> list[type[BaseException]]:
    """Return the exceptions that a module defines, in the order of its text."""
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__ == module.__name__
    ]
    return sorted(found, key=lambda value: inspect.getsourcelines(value)[1])


def _tree(error: type[BaseException], depth: int = 0) -> str:
    """Return a class and those below it, one line each, indented by depth."""
    text = "  " * depth + error.__name__
    below = [c for c in _classes(errors) if c.__bases__[0] is error]
    return "\n".join([text, *(_tree(child, depth + 1) for child in below)])


def _sections(module: ModuleType) -> str:
    level = "##" if module is errors else "###"
    return "\n\n".join(
        f"{level} {error.__name__}\n\n{_bases(error)}{markdown(error)}"
        for error in _classes(module)
    )


def _bases(error: type[BaseException]) -> str:
    """Say which built-in exceptions also catch it, where that is more than Exception."""
    also = [
        base.__name__
        for base in error.__bases__
        if base.__module__ == "builtins" and base not in {Exception, BaseException}
    ]
    return f"Also a `{'`, `'.join(also)}`.\n\n" if also else ""
