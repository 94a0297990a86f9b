"""The page of the command line: every command with its arguments and options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

from penstock.cli.exits import Exit
from penstock.cli.main import app


def page() -> str:
    """Return the page."""
    root = typer.main.get_command(app)
    found = list(_commands(root, "penstock"))
    shared = [row for row in _rows(root) if all(row in _rows(command) for _, command in found)]
    sections = "\n\n".join(_section(name, command, shared) for name, command in found[1:])
    return f"""\
# Command line

{_text(root.help)}

Each command explains itself with `--help`.

## Options of every command

{_table(shared)}

Without a command:

{_table([row for row in _rows(root) if row not in shared])}

## Exit codes

| code | name | meaning |
|---|---|---|
{_exit_codes()}

{sections}
"""


# typer has no public type for what `get_command` returns.
def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield (full name, command) of every visible command, those with commands below first."""
    below = getattr(command, "commands", {})
    if not below or command.invoke_without_command:
        yield path, command
    for name in sorted(below):
        if not below[name].hidden:
            yield from _commands(below[name], f"{path} {name}")


def _section(name: str, command: Any, shared: list[str]) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument" and not p.hidden]
    usage = " ".join([name, *(_placeholder(argument) for argument in arguments), "[OPTIONS]"])
    own = [row for row in _rows(command) if row not in shared]
    parts = [f"## {name}", _text(command.help), f"```text\n{usage}\n```", _table(own)]
    return "\n\n".join(part for part in parts if part)


def _rows(command: Any) -> list[str]:
    """Return a table row for each visible parameter but `--help`."""
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    return [f"| {_name(p)} | {_text(p.help)}{_default(p)} |".replace("\n", " ") for p in shown]


def _table(rows: list[str]) -> str:
    return "\n".join(["| parameter | meaning |", "|---|---|", *rows]) if rows else ""


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_placeholder(parameter)}`"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return names
    return f"{names} `{parameter.metavar or parameter.name.upper()}`"


def _placeholder(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    shown = f"{name}..." if argument.nargs == -1 and "..." not in name else name
    return shown if argument.required or shown.startswith("[") else f"[{shown}]"


def _default(parameter: Any) -> str:
    value = parameter.default
    if callable(value) or value in {None, False, ()} or parameter.required:
        return ""
    return f" Default: `{value}`." if "efault" not in (parameter.help or "") else ""


def _text(text: str | None) -> str:
    cleaned = inspect.cleandoc(text or "").replace("\f", "").strip()
    return cleaned.replace("|", "\\|")


def _exit_codes() -> str:
    lines = inspect.getsource(Exit).splitlines()
    rows = []
    for number, line in enumerate(lines):
        name = line.strip().split(" = ")[0]
        if name in Exit.__members__:
            after = lines[number + 1].strip() if number + 1 < len(lines) else ""
            meaning = after.strip('"') if after.startswith('"""') else "Done."
            rows.append(f"| {Exit[name].value} | `{name}` | {meaning} |")
    return "\n".join(rows)
