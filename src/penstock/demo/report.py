"""The report that the merge job writes, as Markdown. Pure."""

from __future__ import annotations

from pathlib import PurePath

from penstock.demo.analysis import Report


def page(report: Report) -> str:
    """Return the text of the report."""
    share = f"{report.documented / report.functions:.0%}" if report.functions else "-"
    facts = [
        ("files", f"{report.files:,}"),
        ("bytes", f"{report.bytes:,}"),
        ("lines", f"{report.lines:,}"),
        ("functions", f"{report.functions:,}"),
        ("classes", f"{report.classes:,}"),
        ("functions with a docstring", f"{report.documented:,} ({share})"),
        ("Python files that do not parse", f"{report.unparsed:,}"),
    ]
    longest = [
        (f"{one.name}, {one.branches} branches, {where(path, one.line)}", f"{one.lines:,}")
        for path, one in report.longest_functions
    ]
    return "\n\n".join(
        [
            "# Analysis of files by Penstock's demo",
            _table("fact", "number", facts),
            "## Longest functions",
            _table("function", "lines", longest),
            "## Most frequent names",
            _table("name", "occurrences", [(n, f"{c:,}") for n, c in report.top_names]),
            "## Largest files",
            _table("file", "lines", [(p, f"{lines:,}") for p, lines in report.largest_files]),
            "",
        ]
    )


def where(path: str, line: int) -> str:
    """Return the place of a function: folder, file and line."""
    return f"{'/'.join(PurePath(path).parts[-2:])}:{line}"


def _table(left: str, right: str, rows: list[tuple[str, str]]) -> str:
    cells = [f"| {name.replace('|', '/')} | {value} |" for name, value in rows]
    return "\n".join([f"| {left} | {right} |", "|---|---:|", *cells])
