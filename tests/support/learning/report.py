"""Coverage and waste of learned reservations, on recorded and on made-up runs.

python -m tests.support.learning.report --out FOLDER [--runs FILE]
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.support.learning.app import BIMODAL
from tests.support.learning.replay import FIRST, Score, by_task, score, together
from tests.support.learning.synthetic import TOLD, UNTOLD, Shape, runs_of
from tests.support.learning.trace import JUDGED, SET, Recorded, read
from tests.support.origin import Origin, origin

#: Promised where a size is given that tells: share of the runs within their reservation, ...
COVERAGE_LEAST: Final = 0.99
#: ... together with what is reserved over what is taken.
WASTE_MOST: Final = 1.4
_MIB: Final = 2**20
_SEEDS: Final = range(5)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What is published of one task or shape.

    Attributes:
        peaks_mib: the median and the largest.
        sized: with the sizes told; None: it has none.
        blind: without.
    """

    peaks_mib: tuple[int, int]
    sized: Score | None
    blind: Score


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came out.

    Attributes:
        recorded: from where the recorded runs are.
        tasks: recorded tasks whose size tells.
        others: recorded tasks that come in two kinds.
        total: of `tasks`, together; with sizes, without.
        set_total: the same on the runs on which the numbers of the rule were set.
        shapes: made-up runs where the size tells.
        other_shapes: the others.
    """

    origin: Origin
    recorded: str
    tasks: dict[str, Row]
    others: dict[str, Row]
    total: Row
    set_total: Row
    shapes: dict[str, Row]
    other_shapes: dict[str, Row]

    @property
    def misses(self) -> list[str]:
        """What does not hold."""
        held = {**self.shapes, "recorded tasks together": self.total}
        return [name for name, row in held.items() if not _holds(row.sized)]

    @property
    def alone_outside(self) -> list[str]:
        """Recorded tasks which alone lie outside what is promised of all."""
        return [task for task, row in self.tasks.items() if not _holds(row.sized)]

    def text(self) -> str:
        """Return it for people."""
        return "\n".join(_lines(self)) + "\n"


def made(path: Path) -> Report:
    """Play the runs of a file, those on which the rule was set, and made-up ones."""
    head, runs = read(path)
    rows = {task: _row([those]) for task, those in sorted(by_task(runs).items())}
    told = {task: row for task, row in rows.items() if task not in BIMODAL}
    return Report(
        origin=origin(),
        recorded=f"{head.origin}; seed {head.seed}",
        tasks=told,
        others={task: row for task, row in rows.items() if task in BIMODAL},
        total=_total([runs]),
        set_total=_total(read(one)[1] for one in SET),
        shapes=_shapes(TOLD),
        other_shapes=_shapes(UNTOLD),
    )


def _total(recordings: Iterable[Iterable[Recorded]]) -> Row:
    return _row(
        [
            those
            for runs in recordings
            for task, those in by_task(runs).items()
            if task not in BIMODAL
        ]
    )


def _shapes(shapes: Iterable[Shape]) -> dict[str, Row]:
    return {
        inspect.getdoc(shape) or shape.__name__: _row([runs_of(shape, seed=one) for one in _SEEDS])
        for shape in shapes
    }


def _row(series: Sequence[Sequence[Recorded]]) -> Row:
    peaks = sorted(one.peak_bytes for runs in series for one in runs[FIRST:])
    is_sized = all(one.size is not None for runs in series for one in runs)
    return Row(
        peaks_mib=(peaks[len(peaks) // 2] // _MIB, peaks[-1] // _MIB),
        sized=together(map(score, series)) if is_sized else None,
        blind=together(score(runs, hinted=False) for runs in series),
    )


def _holds(found: Score | None) -> bool:
    return found is None or (found.coverage >= COVERAGE_LEAST and found.waste <= WASTE_MOST)


def _lines(report: Report) -> Iterator[str]:
    yield "# Learned reservations: coverage and waste"
    yield ""
    yield f"{report.origin} (data: report.json)."
    yield ""
    yield (
        f"Runs are played to a footprint in their order; the first {FIRST} of a task do not count. "
        "Coverage: runs whose peak is within the reservation. Waste: what is reserved over what "
        "the peaks come to, both by the time for which it is held. Fixed: the waste of the least "
        "single reservation that covers 99 % of the runs, chosen in hindsight."
    )
    total, before = report.total, report.set_total
    yield from ("", "## Recorded runs", "")
    yield (
        f"{report.recorded}. Real tasks in the children of a real worker, as it measures them, the "
        "interpreter included. The rule was made on other runs, recorded before with other seeds."
    )
    yield from _table(
        {**report.tasks, "all of these": total, "all, of the runs that it was made on": before}
    )
    yield from ("", "Tasks that come in two kinds, which no size tells apart:")
    yield from _table(report.others)
    yield from ("", "## Made-up runs", "", f"600 runs each, {len(_SEEDS)} times.")
    yield from _table(report.shapes)
    yield from ("", "Where the size says little, or there is none:")
    yield from _table(report.other_shapes)
    yield from ("", "## Promises", "")
    yield (
        f"Where a size tells, of the recorded runs together and of each shape: at least "
        f"{COVERAGE_LEAST:.0%} covered, with a waste of at most {WASTE_MOST}. "
        + (f"Not held: {', '.join(report.misses)}." if report.misses else "Held by all.")
    )
    if report.alone_outside:
        yield f"Recorded tasks that alone lie outside: {', '.join(report.alone_outside)}."


def _table(rows: Mapping[str, Row]) -> Iterator[str]:
    yield ""
    yield (
        "| runs of | counted | MiB, median | most | with a size: coverage | waste "
        "| without: coverage | waste | fixed |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for name, row in rows.items():
        middle, most = row.peaks_mib
        cells = [name, str(row.blind.runs), f"{middle:,}", f"{most:,}"]
        cells += [*_cells(row.sized), *_cells(row.blind), f"{row.blind.fixed_waste:.2f}"]
        yield f"| {' | '.join(cells)} |"


def _cells(found: Score | None) -> list[str]:
    return ["-", "-"] if found is None else [f"{found.coverage:.1%}", f"{found.waste:.2f}"]


def main(argv: Sequence[str]) -> int:
    """Write the report; return 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.learning.report")
    parser.add_argument("--out", type=Path, required=True, help="folder of report.md, report.json")
    parser.add_argument("--runs", type=Path, default=JUDGED, help="recorded runs")
    asked = parser.parse_args(argv)
    report = made(asked.runs)
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    (asked.out / "report.json").write_bytes(text + b"\n")
    (asked.out / "report.md").write_text(report.text())
    sys.stdout.write(report.text())
    return 1 if report.misses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
