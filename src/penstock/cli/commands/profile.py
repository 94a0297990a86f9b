"""`penstock profile TASK`: what a task was measured to need, and what its next job is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from penstock.cli.command import Answer
from penstock.cli.exits import NotFound
from penstock.cli.output import Column
from penstock.cli.session import Session
from penstock.cli.shapes import PaceRow, ProfileRow
from penstock.cli.sizes import size

if TYPE_CHECKING:
    from penstock.core.footprint import Footprint
    from penstock.core.pace import Pace

#: Bytes a run below which a task leaks nothing worth a word: an allocator's leftovers vary by more.
_LEAK_BYTES_LEAST: Final = 4_096

Name = Annotated[str, typer.Argument(metavar="TASK", help="Registered name of the task.")]


def profile(session: Session, task: Name) -> Answer:
    """Show what a task's runs took of memory and time, and what is reserved for the next one.

    One line for all runs, and one for each bucket of sizes where the task or the calls tell a size:
    how many runs, the peak that half and 95 of 100 did not pass, the largest one, and the
    reservation that `memory="auto"` makes of them, and below twenty runs of the nearest sizes too;
    none below three. Peaks are rounded up by 5 % at most; old runs fade, with a half-life of 30
    days. The leak is what each run leaves in its warm child, as the mean: what one run leaves and
    the next uses again counts as nothing.

    Memory is known of runs in children, time of those and of plain functions in threads. Runs that
    did not go well count for the time where they lasted longer than `light_runtime_max`.

    JSON: {"task", "leak_bytes_per_run", "profiles": [{"size_from", "size_to", "runs", "p50_bytes",
    "p95_bytes", "max_bytes", "reservation_bytes"}], "pace": {"runs", "p50_ms", "p95_ms", "max_ms",
    "cpu_part", "kind"}}; the leak is null below three warm runs, pace where no time is known.
    """
    from penstock.core.footprint import Footprint
    from penstock.core.pace import Pace

    with session.broker() as broker:
        found = broker.footprints([task]).get(task)
    if found is None:
        raise NotFound(
            f"nothing is known of task {task!r}: no job of it has run in a thread or child yet, or "
            "its name is another one"
        )
    footprint = Footprint(found)
    rows, leak = _rows(footprint) if footprint.runs() else [], footprint.leak_bytes
    pace = _pace(Pace(found), session.config().settings.light_runtime_max_ms)
    if session.output.as_json:
        document = {"task": task, "leak_bytes_per_run": leak, "profiles": rows, "pace": pace}
        session.output.document(document)
        return None
    if pace is not None:
        session.output.fields(_time(pace))
    if not rows:
        return None
    titles = ("runs", "p50", "p95", "max", "next")
    columns = [Column("size", whole=True), *(Column(one, right=True) for one in titles)]
    session.output.table(columns, [_cells(row) for row in rows])
    if leak is not None:
        session.output.note(f"leak: {_leak(leak)} a run in a warm child")
    return None


def _rows(footprint: Footprint) -> list[ProfileRow]:
    from penstock.core.footprint import bucket_bounds

    rows = []
    for bucket in (None, *footprint.buckets):
        bounds = (None, None) if bucket is None else bucket_bounds(bucket)
        rows.append(
            ProfileRow(
                size_from=bounds[0],
                size_to=bounds[1],
                runs=footprint.runs(bucket),
                p50_bytes=footprint.quantile_bytes(0.5, bucket),
                p95_bytes=footprint.quantile_bytes(0.95, bucket),
                max_bytes=footprint.quantile_bytes(1.0, bucket),
                reservation_bytes=footprint.reservation_bytes(bucket),
            )
        )
    return rows


def _pace(pace: Pace, light_ms: float) -> PaceRow | None:
    half, most, longest = (pace.quantile_ms(share) for share in (0.5, 0.95, 1.0))
    if half is None or most is None or longest is None:
        return None
    return PaceRow(
        runs=pace.runs,
        p50_ms=half,
        p95_ms=most,
        max_ms=longest,
        cpu_part=round(pace.cpu_part, 3),
        kind=pace.kind(light_ms),
    )


def _time(pace: PaceRow) -> list[tuple[str, str]]:
    times = (pace.p50_ms, pace.p95_ms, pace.max_ms)
    return [
        ("runs", str(pace.runs)),
        ("time", " / ".join(f"{one:,.0f} ms" for one in times) + " (p50, p95, max)"),
        ("computing", f"{pace.cpu_part:.0%} of it"),
        ("kind", pace.kind),
    ]


def _leak(leak_bytes: int) -> str:
    """Return a leak in words; what lies below a page and its neighbours is none."""
    return "none" if leak_bytes < _LEAK_BYTES_LEAST else size(leak_bytes)


def _cells(row: ProfileRow) -> list[str]:
    sizes = "all" if row.size_to is None else f"{row.size_from:,.0f} to {row.size_to:,.0f}"
    peaks = (row.p50_bytes, row.p95_bytes, row.max_bytes, row.reservation_bytes)
    return [sizes, str(row.runs), *("-" if one is None else size(one) for one in peaks)]
