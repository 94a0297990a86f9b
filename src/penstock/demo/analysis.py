"""What the demo finds out about one file, and about all of them together. Pure: text in, facts out.

Python is read with `ast`; every other file is counted as text.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

#: Names kept per file: enough that a name which is frequent anywhere is in the sum of all files,
#: few enough that a result stays near 1 KB.
NAMES_KEPT: Final = 40
#: Entries of each list in the report.
TOP: Final = 10
_WORD: Final = re.compile(r"[^\W\d_]\w+")

Function = ast.FunctionDef | ast.AsyncFunctionDef
#: Statements and expressions that make one more way through a function, after McCabe (1976).
_BRANCHES: Final = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.IfExp, ast.ExceptHandler, ast.BoolOp,
    ast.comprehension, ast.match_case,
)  # fmt: skip


class FunctionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One function of a Python file.

    Attributes:
        name: qualified inside the file, `Class.method`.
        line: where it begins.
        lines: from there to its end.
        branches: ways through it, 1 for straight code.
    """

    name: str
    line: int
    lines: int
    branches: int


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one analysis job returns.

    Attributes:
        path: absolute.
        kind: "python", "text" or "binary".
        bytes: size of the file.
        lines: as editors count them; 0 for binary.
        functions: `def` and `async def`, methods and nested ones too.
        documented: of these, with a docstring.
        longest: the longest function, None where there is none.
        names: the `NAMES_KEPT` most frequent identifiers (Python) or words (text) -> occurrences.
        flaw: why a Python file could not be parsed; its names are then counted as words.
    """

    path: str
    kind: str
    bytes: int
    lines: int
    functions: int = 0
    classes: int = 0
    documented: int = 0
    longest: FunctionFacts | None = None
    names: dict[str, int] = {}
    flaw: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the merge job returns: sums over all files, and the tops.

    Attributes:
        unparsed: Python files with a flaw.
        longest_functions: (path, function), longest first.
        top_names: (name, occurrences) summed over each file's most frequent names.
        largest_files: (path, lines), most lines first.
        path: absolute path of the written report; None while it is not written.
    """

    files: int
    bytes: int
    lines: int
    functions: int
    classes: int
    documented: int
    unparsed: int
    longest_functions: tuple[tuple[str, FunctionFacts], ...]
    top_names: tuple[tuple[str, int], ...]
    largest_files: tuple[tuple[str, int], ...]
    path: str | None = None


def facts_of(path: str, content: bytes) -> FileFacts:
    """Return the facts of one file. Never raises for its content: what is odd is a fact too."""
    if b"\0" in content:
        return FileFacts(path=path, kind="binary", bytes=len(content), lines=0)
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    if path.endswith(".py"):
        return _python_facts(path, content, lines)
    names = _most_frequent(_WORD.findall(content.decode(errors="replace")))
    return FileFacts(path=path, kind="text", bytes=len(content), lines=lines, names=names)


def _python_facts(path: str, content: bytes, lines: int) -> FileFacts:
    size = len(content)
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        names = _most_frequent(_WORD.findall(content.decode(errors="replace")))
        flaw = f"{type(error).__name__}: {error}"
        return FileFacts(path=path, kind="python", bytes=size, lines=lines, names=names, flaw=flaw)
    found = list(_functions(tree))
    return FileFacts(
        path=path,
        kind="python",
        bytes=size,
        lines=lines,
        functions=len(found),
        classes=sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        documented=sum(ast.get_docstring(node, clean=False) is not None for _, node in found),
        longest=_longest(found),
        names=_most_frequent(_identifiers(tree)),
    )


def _functions(tree: ast.AST) -> Iterator[tuple[str, Function]]:
    # A stack of our own: an expression may be nested deeper than Python calls may.
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, Function | ast.ClassDef):
                inner = f"{prefix}{child.name}."
            if isinstance(child, Function):
                yield prefix + child.name, child
            waiting.append((inner, child))


def _longest(found: list[tuple[str, Function]]) -> FunctionFacts | None:
    if not found:
        return None
    name, node = max(found, key=lambda item: (_length(item[1]), -item[1].lineno))
    branches = 1 + sum(isinstance(inner, _BRANCHES) for inner in ast.walk(node))
    return FunctionFacts(name=name, line=node.lineno, lines=_length(node), branches=branches)


def _length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _most_frequent(names: Iterable[str]) -> dict[str, int]:
    ordered = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:NAMES_KEPT])


def merge(all_facts: Iterable[FileFacts]) -> Report:
    """Return the sums and tops over files; ties go by name, so that equal input gives equal output.

    Cost: one pass; memory for the facts and one counter of names.
    """
    facts = list(all_facts)
    names: Counter[str] = Counter()
    for one in facts:
        names.update(one.names)
    longest = [(one.path, one.longest) for one in facts if one.longest is not None]
    longest.sort(key=lambda item: (-item[1].lines, item[0]))
    largest = sorted(((one.path, one.lines) for one in facts), key=lambda i: (-i[1], i[0]))
    top = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    return Report(
        files=len(facts),
        bytes=sum(one.bytes for one in facts),
        lines=sum(one.lines for one in facts),
        functions=sum(one.functions for one in facts),
        classes=sum(one.classes for one in facts),
        documented=sum(one.documented for one in facts),
        unparsed=sum(one.flaw is not None for one in facts),
        longest_functions=tuple(longest[:TOP]),
        top_names=tuple(top[:TOP]),
        largest_files=tuple(largest[:TOP]),
    )
