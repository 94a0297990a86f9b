"""Whether `explain` names what stands in a job's way: shown by taking it away.

In each situation, with K the blockers that are named:

1. all of K taken away: the job starts;
2. all of K but one taken away: it does not, for each of K;
3. all that is not in K taken away, alone and together: it does not;
4. every other job and all of K but space taken away: it starts unless K has "no_worker", "lacking"
   or "too_large", which no end of a job takes away.

python -m tests.support.explained --count 1000 --out FOLDER
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from penstock.cli.explanation import Explanation
from tests.support.origin import origin
from tests.support.situations import KINDS, ROOM, SPACE, Situation, common_obstacles


class Checked(msgspec.Struct, frozen=True):
    """One situation: what was named, and what did not hold."""

    seed: int
    kinds: tuple[str, ...]
    flaws: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a run.

    Attributes:
        flawed: seeds of the situations that were wrongly explained.
        named: blockers, those of one situation together, and how often they were named.
    """

    origin: object
    situations: int
    flawed: list[int]
    seconds: float
    named: dict[str, int]

    def text(self) -> str:
        """Return it for people."""
        lines = [
            "# explain, by intervention",
            "",
            f"{self.situations} situations in {self.seconds} s (data: report.json).",
            f"Wrongly explained: {len(self.flawed)}.",
            "",
            "| named | situations |",
            "|---|---:|",
            *(f"| {kinds} | {count} |" for kinds, count in self.named.items()),
        ]
        return "\n".join(lines) + "\n"


def check(seed: int) -> Checked | None:
    """Check the situation of a seed; None: its job does not wait for anything."""
    with Situation(seed) as here:
        if here.is_started:
            return None
        found = here.explain()
    return Checked(seed, found.kinds, tuple(flaws(seed, found)))


def flaws(seed: int, found: Explanation) -> Iterator[str]:
    """Yield what does not hold in the situation of a seed.

    Args:
        seed: of the situation.
        found: what is said to stand in the way.
    """
    named = frozenset(found.kinds)

    def starts(kinds: frozenset[str]) -> bool:
        with Situation(seed) as there:
            there.take_away(kinds, found)
            return there.is_started

    if not starts(named):
        yield f"all of {sorted(named)} are gone, and it does not start"
    for one in sorted(named):
        if starts(named - {one}):
            yield f"{one} of {sorted(named)} is still there, and it starts"
    others = not_named(found)
    for kinds in (others, *(frozenset({one}) for one in sorted(others))):
        if starts(kinds):
            yield f"{sorted(kinds)} of none of {sorted(named)} are gone, and it starts"
    # The end of other jobs makes no worker, and wakes none.
    able = [one for one in found.workers if one.holds]
    is_asleep = all("quiet" in one.obstacles for one in able) and "quiet" not in named
    lacks_worker = bool(named & (SPACE - {"full"})) or is_asleep
    if starts((named - SPACE) | {"jobs"}) is lacks_worker:
        yield f"of {sorted(named)} and all other jobs, only space is there, and that is not so"


def not_named(found: Explanation) -> frozenset[str]:
    """Return what of all kinds should not be in the way: the job waits for none of it alone.

    A worker more takes away whatever keeps the others from taking the job. And where each worker
    has a reason of its own, the end of one is enough.
    """
    named = frozenset(found.kinds)
    others = frozenset(KINDS) - named
    if named & (SPACE | ROOM):
        others -= SPACE
    if "gate" in named:
        # Room for the job for which room is kept, from anywhere, lets others in again.
        others -= ROOM
    if any(one.obstacles for one in found.workers) and not common_obstacles(found):
        others -= ROOM
    return others


def checked(begin: int, count: int) -> Iterator[Checked]:
    """Yield `count` situations in which a job waits, from a seed on."""
    seed = begin
    while count:
        one = check(seed)
        if one is not None:
            yield one
            count -= 1
        seed += 1


def main(argv: Sequence[str]) -> int:
    """Check many; return 1 if something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.explained", description=__doc__)
    parser.add_argument("--begin", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=1_000, help="how many situations")
    parser.add_argument("--out", type=Path, help="folder of report.json")
    asked = parser.parse_args(argv)
    began = time.monotonic()
    found = list(checked(asked.begin, asked.count))
    flawed = [one for one in found if one.flaws]
    for one in flawed:
        sys.stdout.write(f"seed {one.seed}: {'; '.join(one.flaws)}\n")
    report = Report(
        origin=origin(),
        situations=len(found),
        flawed=[one.seed for one in flawed],
        seconds=round(time.monotonic() - began, 1),
        named=dict(Counter(" + ".join(one.kinds) or "none" for one in found).most_common()),
    )
    sys.stdout.write(report.text())
    if asked.out is not None:
        text = msgspec.json.format(msgspec.json.encode(report), indent=1)
        (asked.out / "report.json").write_bytes(text + b"\n")
        (asked.out / "report.md").write_text(report.text())
    return 1 if flawed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
