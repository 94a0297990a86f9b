"""Writes the page of one run of one scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import report

if TYPE_CHECKING:
    from benchmarks.scenario import Scenario


def page(name: str, scenario: Scenario, document: dict[str, Any]) -> str:
    """Return the page: origin, tables, promises, and what failed or was left out."""
    groups = report.grouped(document["samples"])
    everybody = [one.key for one in scenario.everybody()]
    parts = [f"# {scenario.title}", origin(name, document), scenario.notes]
    for heading, figures in scenario.tables.items():
        chosen = {figure: scenario.figures[figure] for figure in figures}
        who = [key for key in everybody if any(key in groups.get(f, {}) for f in figures)]
        if not who:
            continue
        if heading:
            parts.append(f"## {heading}")
        lines = report.table(groups, chosen, who, by_contestant=scenario.by_contestant)
        parts.append("\n".join(lines))
    verdicts = [report.verdict(groups, scenario.figures, bar) for bar in scenario.bars]
    parts += ["## Promises", "\n".join(report.promises(verdicts))]
    if document["failures"]:
        parts += ["## Failed or left out", "\n".join(report.failures(document))]
    return "\n\n".join(parts) + "\n"


def origin(name: str, document: dict[str, Any]) -> str:
    """Return when, where and with what the figures were taken."""
    facts = document["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    jobs = ", ".join(f"{who} {count:,}" for who, count in document["drain_jobs"].items())
    rounds = document["rounds"]
    return (
        f"{facts['date']}, commit {facts['commit']}, {facts['cpus']} CPUs, kernel "
        f"{facts['kernel']}; {versions}. {rounds} round{'s' if rounds != 1 else ''}, contestants "
        f"in turn. Median, and lowest to highest. Every sample stands in `{name}.json`.\n\n"
        f"Jobs of one drain: {jobs}."
    )
