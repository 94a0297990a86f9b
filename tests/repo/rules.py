"""Rules that hold for one Python file at a time, each as a function from a file to its findings.

A rule yields "LINE WHAT" for each place that breaks it. `test_rules.py` plants a breach of each:
a rule that finds nothing in its own example would pass for ever.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[["Source"], Iterator[str]]

#: Words that say nothing about a duty, so that anything ends up there.
EMPTY_WORDS = frozenset(
    {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager", "managers"}
)

#: Formats that run code when read, and a second SQLite in the process (it drops our file locks).
FORBIDDEN_MODULES = frozenset(
    {
        "_pickle",
        "cPickle",
        "cloudpickle",
        "dill",
        "jsonpickle",
        "marshal",
        "pickle",
        "shelve",
        "sqlite3",
        "yaml",
    }
)

#: What core may not import: clocks, chance, files, network, processes, threads, event loops.
IMPURE_MODULES = frozenset(
    {
        "anyio",
        "apsw",
        "asyncio",
        "ctypes",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "psutil",
        "psycopg",
        "random",
        "redis",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    }
)

#: Built-in functions that turn text into code.
EVALUATORS = frozenset({"__import__", "compile", "eval", "exec"})

#: Ways to let a test pass without running it, or run it until it passes.
EVASIONS = frozenset({"flaky", "importorskip", "skip", "skipTest", "skipUnless", "skipif", "xfail"})


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root of the repository, and its text."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The syntax tree, parsed anew at each call."""
        return ast.parse(self.text, filename=self.name)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Yield (qualified name, node) of each function and method, nested ones too."""
    for node in ast.iter_child_nodes(tree):
        inner = prefix
        if isinstance(node, Function | ast.ClassDef):
            inner = f"{prefix}{node.name}."
        if isinstance(node, Function):
            yield prefix + node.name, node
        yield from functions(node, inner)


def body_lines(node: Function) -> int:
    """Return the lines of a function from `def` to its end, without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is not None:
        first = node.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def empty_names(source: Source) -> Iterator[str]:
    """Name the duty, not the drawer: no helper, manager, base or the like."""
    for part in source.name.removesuffix(".py").split("/"):
        if EMPTY_WORDS & set(part.split("_")):
            yield f"1 the path {source.name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            words = {word.lower() for word in re.findall(r"[A-Z][a-z]*", node.name)}
            if words & EMPTY_WORDS:
                yield f"{node.lineno} class {node.name}"


def undocumented_names(source: Source) -> Iterator[str]:
    """Each public module, class, function and method says what it means."""
    if ast.get_docstring(source.tree) is None:
        yield "1 the module"
    yield from _undocumented(source.tree, "")


def _undocumented(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not _is_overload(node):
            yield f"{node.lineno} {prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node, f"{prefix}{node.name}.")


def _is_overload(node: Function | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def undocumented_tests(source: Source) -> Iterator[str]:
    """Each test says in a sentence, ending with a period, what holds when it passes."""
    for qualified, node in functions(source.tree):
        sentence = (ast.get_docstring(node) or "").strip()
        if node.name.startswith("test_") and not sentence.endswith("."):
            yield f"{node.lineno} {qualified}"


def unexplained_numbers(source: Source) -> Iterator[str]:
    """A number that is a module's constant says its unit, and why, in a comment or docstring.

    One comment may speak for the constants that follow it without a gap, as for lines and bytes.
    """
    lines = source.text.splitlines()
    explained_until = -1
    for node in source.tree.body:
        above = lines[node.lineno - 2].strip() if node.lineno > 1 else ""
        after = next((line for line in lines[node.end_lineno :] if line.strip()), "")
        explained = (
            above.startswith("#")
            or node.lineno == explained_until + 1
            or "#" in lines[node.lineno - 1]
            or after.startswith('"""')
        )
        if explained:
            explained_until = node.end_lineno or node.lineno
        elif _is_number(node):
            names = [name for name in _assigned(node) if re.fullmatch("[A-Z][A-Z0-9_]+", name)]
            yield from (f"{node.lineno} {name}" for name in names)


def _assigned(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _is_number(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Constant | ast.BinOp | ast.UnaryOp):
        return False
    return all(
        isinstance(leaf.value, int | float) and not isinstance(leaf.value, bool)
        for leaf in ast.walk(value)
        if isinstance(leaf, ast.Constant)
    )


def module_state(source: Source) -> Iterator[str]:
    """Pass objects; a module holds no state: no `global`, no lower-case mutable value."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Global):
            yield f"{node.lineno} global {', '.join(node.names)}"
    for statement in source.tree.body:
        value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        for variable in _assigned(statement):
            is_constant = re.fullmatch("_?[A-Z][A-Z0-9_]+", variable) or variable == "__all__"
            if _is_mutable(value) and not is_constant:
                yield f"{statement.lineno} {variable}"


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) in {"dict", "list", "set", "defaultdict", "deque", "Counter"}
    return isinstance(
        value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    )


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of each absolute import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


def forbidden_imports(source: Source) -> Iterator[str]:
    """JSON by msgspec for data, apsw for SQLite: no pickle, marshal, shelve, yaml, sqlite3."""
    for line, module in imported(source.tree):
        if module.split(".")[0] in FORBIDDEN_MODULES:
            yield f"{line} {module}"


def impure_imports(source: Source) -> Iterator[str]:
    """Core does no I/O, reads no clock, draws no random number: it is given them."""
    for line, module in imported(source.tree):
        if module.split(".")[0] in IMPURE_MODULES:
            yield f"{line} {module}"


def evaluated_data(source: Source) -> Iterator[str]:
    """Data is never code: no eval, exec, compile or __import__."""
    for node in ast.walk(source.tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in EVALUATORS:
            yield f"{called.lineno} {called.id}"


def evaded_tests(source: Source) -> Iterator[str]:
    """Mend the test or take it away: a test that may not run proves nothing."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Attribute) or node.attr not in EVASIONS:
            continue
        if ast.unparse(node.value) in {"pytest", "pytest.mark", "unittest", "self"}:
            yield f"{node.lineno} {ast.unparse(node)}"


def ambient_reads(source: Source) -> Iterator[str]:
    """Only entry points read the environment and argv; everything else is given its settings."""
    ambient = {"os.environ", "os.getenv", "os.environb", "sys.argv"}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ambient:
            yield f"{node.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (f"{node.lineno} {name}" for name in names if name in ambient)
