"""Guards marked in the source of an adapter, and how each is taken out.

A guard is the condition on a line that ends in `# Guard: NAME` (Python) or `-- Guard: NAME` (SQL,
Lua).
Taking it out is mechanical, so that nobody chooses what a test can see:

- SQL `AND cond`, `WHERE cond`, `ELSE cond`: the condition is `OR TRUE`, so that it always holds and
  parameters keep their numbers; `WHEN cond THEN x`: it is `AND FALSE`, so that it never does, and
  where x is a comparison, that is `OR TRUE` in a second mutant; `ON CONFLICT ... DO NOTHING`: the
  line goes.
- Lua `if cond then` and `local x = cond`: the condition is taken out twice, as true and as false;
  `and cond` is true; `while cond do` is false; a range that ends at `int(now)` ends at '+inf'.
- Python, an operand of a longer `and` is True, of a longer `or` False; a filter of a comprehension
  is True; the test of an `if` that turns away (ends in return, raise, continue or break) is False;
  any other condition is taken out twice, as True and as False; a bound by `min` or `max` is its
  first argument; any other statement is `pass`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MARK = re.compile(r"(?:#|--) Guard: (?P<name>.+?)\s*$")
_SQL_CONDITION = re.compile(r"^(?P<start>\s*(?:AND|WHERE|ELSE)\s)(?P<condition>.+)$")
_SQL_CASE = re.compile(r"^(?P<start>\s*WHEN\s)(?P<condition>.+?)(?P<then>\sTHEN\s)(?P<value>.+)$")
_SQL_COMPARISON = re.compile(r"[<>=]")
_LUA_TEST = re.compile(r"^(?P<start>\s*(?:else)?if\s)(?P<condition>.+?)(?P<end>\sthen)$")
_LUA_VALUE = re.compile(r"^(?P<start>\s*local \w+ = )(?P<condition>.+)$")
_LUA_AND = re.compile(r"^(?P<start>\s*and\s)(?P<condition>.+)$")
_LUA_WHILE = re.compile(r"^(?P<start>\s*while\s)(?P<condition>.+)(?P<end>\sdo)$")
_LUA_NOW = "int(now)"
_SQL_CONFLICT = re.compile(r"^\s*ON CONFLICT .* DO NOTHING$")

Span = tuple[int, int, int, int]
"""First line, first column, last line, last column, as `ast` counts them (columns in bytes)."""


@dataclass(frozen=True)
class Guard:
    """One marked guard of an adapter.

    Attributes:
        file: path within the adapter's package.
        line: where it stands, from 1.
        name: what it guards, as marked.
    """

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.name}"


@dataclass(frozen=True)
class Mutant:
    """A source file without one guard.

    Attributes:
        guard: what was taken out.
        how: what stands there now, for messages.
        text: the whole file.
    """

    guard: Guard
    how: str
    text: str


def guards_of(package: Path) -> list[Guard]:
    """Return the guards marked in a package, its SQL files too."""
    files = [path for ending in ("py", "sql", "lua") for path in package.rglob(f"*.{ending}")]
    return [
        Guard(str(path.relative_to(package)), number, mark["name"])
        for path in sorted(files)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (mark := _MARK.search(line)) is not None
    ]


def mutants_of(package: Path, guard: Guard) -> list[Mutant]:
    """Return the file of `guard` without it, once for each way to take it out."""
    text = (package / guard.file).read_text()
    if guard.file.endswith(".sql"):
        return list(_without_line(text, guard, _sql_ways))
    if guard.file.endswith(".lua"):
        return list(_without_line(text, guard, _lua_ways))
    return [
        Mutant(guard, f"`{ast.get_source_segment(text, node)}` is {new}", _replace(text, node, new))
        for node, new in _ways(ast.parse(text), guard)
    ]


def _without_line(
    text: str, guard: Guard, ways: Callable[[str, Guard], Iterator[str]]
) -> Iterator[Mutant]:
    lines = text.splitlines()
    for line in ways(_MARK.sub("", lines[guard.line - 1]).rstrip(), guard):
        lines[guard.line - 1] = line
        yield Mutant(guard, f"line is `{line.strip()}`", "\n".join(lines) + "\n")


def _sql_ways(line: str, guard: Guard) -> Iterator[str]:
    if (found := _SQL_CONDITION.match(line)) is not None:
        yield f"{found['start']}(({found['condition']}) OR TRUE)"
    elif (found := _SQL_CASE.match(line)) is not None:
        start, condition, then, value = found["start"], found["condition"], found["then"], found[4]
        yield f"{start}(({condition}) AND FALSE){then}{value}"
        if _SQL_COMPARISON.search(value):
            yield f"{start}{condition}{then}(({value}) OR TRUE)"
    elif _SQL_CONFLICT.match(line):
        yield ""
    else:
        raise AssertionError(
            f"{guard}: put the condition on a line of its own: AND cond, WHERE cond, ELSE cond, "
            "WHEN cond THEN x, or ON CONFLICT ... DO NOTHING"
        )


def _lua_ways(line: str, guard: Guard) -> Iterator[str]:
    if (found := _LUA_TEST.match(line)) is not None:
        yield f"{found['start']}true{found['end']}"
        yield f"{found['start']}false{found['end']}"
    elif (found := _LUA_WHILE.match(line)) is not None:
        yield f"{found['start']}false{found['end']}"
    elif (found := _LUA_AND.match(line)) is not None:
        yield f"{found['start']}true"
    elif _LUA_NOW in line:
        yield line.replace(_LUA_NOW, "'+inf'")
    elif (found := _LUA_VALUE.match(line)) is not None:
        yield f"{found['start']}true"
        yield f"{found['start']}false"
    else:
        raise AssertionError(
            f"{guard}: put the condition on a line of its own: if cond then, and cond, "
            "while cond do, local x = cond, or a range that ends at int(now)"
        )


def _ways(tree: ast.Module, guard: Guard) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Yield (node, what to put there) for the innermost condition that the line holds."""
    operands = [
        (operand, "True" if isinstance(node.op, ast.And) else "False")
        for node in ast.walk(tree)
        if isinstance(node, ast.BoolOp) and node.lineno != node.end_lineno
        for operand in node.values
        if _is_on(operand, guard.line)
    ]
    if operands:
        yield from operands
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.comprehension):
            filters = [test for test in node.ifs if _is_on(test, guard.line)]
            if filters:
                yield from ((test, "True") for test in filters)
                return
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.While) and _is_on(node.test, guard.line):
            yield node.test, "False"
            if not isinstance(node, ast.If) or not _turns_away(node):
                yield node.test, "True"
            return
    yield from _ways_of_statement(tree, guard)


def _ways_of_statement(tree: ast.Module, guard: Guard) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Yield the ways for a marked line that is a statement without a branch."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or not _is_on(node, guard.line):
            continue
        value = node.value if isinstance(node, ast.Assign | ast.Return) else None
        is_condition = isinstance(value, ast.Compare | ast.BoolOp | ast.UnaryOp)
        if value is not None and (is_condition or isinstance(node, ast.Return)):
            yield value, "True"
            yield value, "False"
        elif isinstance(value, ast.Call) and ast.unparse(value.func) in {"min", "max"}:
            yield value, ast.unparse(value.args[0])
        elif value is not None:
            raise AssertionError(f"{guard}: the line holds no condition")
        else:
            yield node, "pass"
        return
    raise AssertionError(f"{guard}: put the condition on one line")


def _is_on(node: ast.expr | ast.stmt, line: int) -> bool:
    return node.lineno == line == node.end_lineno


def _turns_away(node: ast.If) -> bool:
    return isinstance(node.body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)


def _replace(text: str, node: ast.expr | ast.stmt, new: str) -> str:
    lines = text.encode().splitlines(keepends=True)
    line = lines[node.lineno - 1]
    lines[node.lineno - 1] = line[: node.col_offset] + new.encode() + line[node.end_col_offset :]
    return b"".join(lines).decode()
