"""What many seeds came to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from tests.support import history as h
from tests.support.engine.run import Run
from tests.support.origin import Origin, origin

#: Violations told of one seed.
_TOLD_MAX = 5


class Played(msgspec.Struct, kw_only=True):
    """One seed, in numbers.

    Attributes:
        jobs: accepted ones.
        lost: of these, forgotten by a failover.
        again: settled, forgotten, and run again.
        stranded: left `running` by a failover that forgot their end, until their worker ended.
        turns: callbacks that ran.
        virtual_s: how long the world lasted, in its own time.
        violations: as text.
    """

    seed: int
    mode: str
    jobs: int
    lost: int
    again: int
    stranded: int
    events: int
    turns: int
    virtual_s: float
    faults: dict[str, int]
    violations: list[str]


def played(run: Run) -> Played:
    """Return the numbers of a run."""
    accepted = {event.job for event in run.events if isinstance(event, h.Accepted)}
    return Played(
        seed=run.seed,
        mode=run.mode,
        jobs=len(accepted),
        lost=run.lost,
        again=run.again,
        stranded=run.stranded,
        events=len(run.events),
        turns=run.turns,
        virtual_s=run.seconds,
        faults=dict(run.faults),
        violations=[str(violation) for violation in run.violations()],
    )


class Report(msgspec.Struct, kw_only=True):
    """The sums, and the seeds that failed."""

    commit: str
    seeds: int = 0
    jobs: int = 0
    lost: int = 0
    again: int = 0
    stranded: int = 0
    events: int = 0
    turns: int = 0
    virtual_s: float = 0.0
    seconds: float = 0.0
    modes: Counter[str] = msgspec.field(default_factory=Counter)
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    failures: dict[int, list[str]] = msgspec.field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many seeds violate something."""
        return len(self.failures)

    def add(self, one: Played) -> None:
        """Take one seed in."""
        self.seeds += 1
        for name in ("jobs", "lost", "again", "stranded", "events", "turns", "virtual_s"):
            setattr(self, name, getattr(self, name) + getattr(one, name))
        self.modes[one.mode] += 1
        self.faults.update(one.faults)
        if one.violations:
            self.failures[one.seed] = one.violations

    def failure(self, one: Played) -> str:
        """Return what is needed to see a failure again."""
        told = "\n".join(f"    {text}" for text in one.violations[:_TOLD_MAX])
        return f"seed {one.seed} of commit {self.commit} ({one.mode}, {one.faults}):\n{told}"

    def line(self) -> str:
        """Return one line for people."""
        return (
            f"{self.seeds} seeds, {self.jobs} jobs, {sum(self.faults.values())} faults, "
            f"{self.failed} seeds with a violation; in failovers {self.lost} jobs lost, "
            f"{self.again} run again, {self.stranded} stranded for a time; {self.seconds} s"
        )

    def write(self, folder: Path) -> None:
        """Write report.md and report.json."""
        made = origin()
        document = msgspec.json.encode({"origin": made, **msgspec.to_builtins(self, str_keys=True)})
        (folder / "report.json").write_bytes(msgspec.json.format(document, indent=1) + b"\n")
        (folder / "report.md").write_text(self._page(made))

    def _page(self, made: Origin) -> str:
        faults = "\n".join(f"| {kind} | {count} |" for kind, count in sorted(self.faults.items()))
        worlds = ", ".join(f"{count} {mode}" for mode, count in sorted(self.modes.items()))
        failures = [f"- seed {seed}: {texts[0]}" for seed, texts in sorted(self.failures.items())]
        return PAGE.format(
            origin=made, report=self, worlds=worlds, faults=faults, hours=self.virtual_s / 3600,
            seconds=self.seconds,
            failures="\n".join(failures) or "None.",
        )  # fmt: skip


PAGE = """# Proof: the engine in a simulated world

{origin}

The real loops of supervisors, runners and children around the broker in memory, under a virtual
clock and a seeded scheduler; ADR-0028 says what is real and what is not.
`make proof AREA=simulation` writes this page, `SEED=n make proof AREA=simulation` prints the
history of one seed; the same commit and seed give the same history, byte for byte.

| seeds | jobs | events | callbacks | virtual hours | seconds |
|---|---|---|---|---|---|
| {report.seeds} | {report.jobs} | {report.events} | {report.turns} | {hours:.1f} | {seconds} |

Worlds: {worlds}. In the lossy ones the broker fails over to a replica that never saw the last
writes: {report.lost} accepted jobs were lost with them, {report.again} ran again although they
had been settled, and {report.stranded} stayed running until their worker ended because only
their end was forgotten.

## Faults

| kind | count |
|---|---|
{faults}

## Violations

{failures}
"""
