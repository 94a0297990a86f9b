"""The demo's summary as lines for people. Pure: numbers in, lines out."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.cli.times import span
from penstock.demo.report import where
from penstock.demo.summary import Summary

#: Entries of each list; the report has more.
_SHOWN = 3


def lines(summary: Summary, *, database: str, command: str) -> Iterator[str]:
    """Yield the lines.

    Args:
        summary: the numbers.
        database: absolute path of the file they were read from.
        command: how `penstock` is called here, with the options that name the database.
    """
    yield "Read from the broker:"
    yield f"  jobs       {summary.jobs}: {_counted(summary.states)}"
    yield f"  attempts   {summary.attempts}: {_counted(summary.outcomes)}"
    yield f"  time       {span(summary.run_ms)} from the first enqueue to the last end of a job"
    yield from _recovery(summary)
    unsteady, hopeless = summary.unsteady, summary.hopeless
    yield f"  unsteady   {unsteady.attempts} attempts, {unsteady.errors} errors: {unsteady.outcome}"
    yield f"  hopeless   {hopeless.attempts} attempts, {hopeless.errors} errors: dead by design"
    yield ""
    yield from _results(summary)
    yield ""
    yield "Check every number:"
    for arguments, what in (
        ("queues", "jobs by state"),
        ("jobs --limit 500", "the newest 500 jobs"),
        (f"job {summary.recovery.job_id}", "the killed job"),
        (f"job {summary.unsteady.job_id}", "failed twice"),
        ("dead", "always fails"),
        (f"job {summary.merge_id}", "the merge job"),
    ):
        verb, _, rest = arguments.partition(" ")
        yield f"  {what:<22} {command.replace('VERB', verb)} {rest}".rstrip()
    yield ""
    yield f"database   {database}"


def _recovery(summary: Summary) -> Iterator[str]:
    recovery = summary.recovery
    first, *rest = recovery.pids
    yield (
        f"  recovery   runner {recovery.killed_pid} was killed; noticed after "
        f"{span(recovery.noticed_ms)}, its job ran again after {span(recovery.restarted_ms)}"
    )
    yield (
        f"             attempts in processes {', '.join(map(str, (first, *rest)))}; resumed at "
        f"file {recovery.resumed_at} of {recovery.files}, completed after "
        f"{span(recovery.completed_ms)}"
    )
    if summary.neighbours:
        yield (
            f"             others in that runner: {len(summary.neighbours)}, released without a "
            "charge, run again alone"
        )


def _results(summary: Summary) -> Iterator[str]:
    report = summary.report
    yield (
        f"Found in {report.files:,} files: {report.lines:,} lines, {report.functions:,} functions, "
        f"{report.classes:,} classes"
    )
    longest = [
        f"{one.name} {one.lines} lines ({where(path, one.line)})"
        for path, one in report.longest_functions[:_SHOWN]
    ]
    if longest:
        yield f"  longest    {longest[0]}"
        yield from (f"             {text}" for text in longest[1:])
    names = ", ".join(f"{name} {count:,}" for name, count in report.top_names[:_SHOWN])
    yield f"  names      {names}"
    yield f"  report     {report.path}"


def _counted(counts: dict[str, int]) -> str:
    largest_first = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name}" for name, count in largest_first)
