"""The page of settings: each with its variable, default and reason."""

from __future__ import annotations

from itertools import groupby

from penstock.config.settings import SETTINGS, Setting

#: What each component's settings are about.
COMPONENTS = {
    "app": "Where jobs are kept, and what may be kept.",
    "capacity": "How much a worker runs at once.",
    "worker": "What a worker serves, and how it stops.",
    "offer": "What a worker has for jobs that run in children.",
    "child": "What becomes of the processes in which jobs run alone, and of their memory.",
    "lease": "How a lost worker is noticed, and how soon. They belong together.",
    "retention": "How long finished jobs are kept. Whichever bound is met first decides.",
    "log": "How a worker talks.",
}


def page() -> str:
    """Return the page."""
    sections = "\n\n".join(
        _section(component, list(rows))
        for component, rows in groupby(SETTINGS.values(), key=lambda setting: setting.component)
    )
    return f"""\
# Settings

A value comes from the first of these that has it: a flag of the command line, what the `App` object
says, a variable `PENSTOCK_*`, the nearest `penstock.toml` or `[tool.penstock]` of `pyproject.toml`
upward from the working directory, the default. `penstock config` prints each value with its origin.

In a file a setting is written by its name, with underscores, above all tables; as a variable in
capitals after `PENSTOCK_`; some are options of `penstock worker` too. The [tables](tables.md) of
the file have a page of their own. A duration is a number of seconds or text like "30s", "15min",
"1h"; a size is a number of bytes or text like "2GiB". An unknown name in a file is an error, never
ignored.

{sections}
"""


def _section(component: str, rows: list[Setting]) -> str:
    lines = [f"| {' | '.join(_cells(row))} |" for row in rows]
    head = (
        "| name | variable | option | value | default | what it does |\n|---|---|---|---|---|---|"
    )
    return "\n".join([f"## {component}", "", COMPONENTS[component], "", head, *lines])


def _cells(row: Setting) -> tuple[str, ...]:
    option = f"`{row.flag}`" if row.flag else ""
    return (
        f"`{row.name}`", f"`{row.env}`", option, _escape(row.kind), _default(row), _reason(row)
    )  # fmt: skip


def _default(setting: Setting) -> str:
    return f"`{setting.default}`" if setting.default else "(none)"


def _reason(setting: Setting) -> str:
    text = _escape(setting.reason)
    return f"{text[0].upper() if text[0].isalpha() else text[0]}{text[1:]}."


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
