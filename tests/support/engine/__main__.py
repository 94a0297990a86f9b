"""`python -m tests.support.engine`: play seeds, or one seed with its history printed.

python -m tests.support.engine --count 300           seeds 0..299, one line at the end
python -m tests.support.engine --seed 42             the history of seed 42, and what broke
python -m tests.support.engine --count 20000 --jobs 2 --out FOLDER     with a report
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.support.engine.planted import PLANTS
from tests.support.engine.report import Played, Report, played
from tests.support.engine.run import simulate
from tests.support.origin import origin

#: Seeds that a process plays between two words to its parent.
_CHUNK = 10
#: Seeds with a violation after which a proof gives up: the first few tell the story.
_FAILURES_MAX = 25


def main(argv: Sequence[str]) -> int:
    """Do what the command line asks for; return 1 if something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.engine", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one and print its history")
    parser.add_argument("--begin", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=300, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="with this defect in the engine")
    parser.add_argument("--out", type=Path, help="folder of report.md and report.json")
    asked = parser.parse_args(argv)
    logging.basicConfig(level=logging.CRITICAL)
    if asked.seed is not None:
        return _replay(asked.seed, asked.plant)
    return _play(asked)


def _replay(seed: int, plant: str | None) -> int:
    run = simulate(seed, PLANTS[plant] if plant else {})
    sys.stdout.write(run.history().decode())
    broken = run.violations()
    sys.stdout.writelines(f"{violation}\n" for violation in broken)
    sys.stderr.write(f"seed {seed} of commit {origin().commit}: {len(broken)} violations\n")
    return 1 if broken else 0


def _play(asked: argparse.Namespace) -> int:
    began = time.monotonic()
    report = Report(commit=origin().commit)
    for one in _each(range(asked.begin, asked.begin + asked.count), asked.jobs, asked.plant):
        report.add(one)
        if one.violations:
            sys.stdout.write(f"{report.failure(one)}\n")
            sys.stdout.flush()
        if asked.plant is not None and one.violations:
            # The first seed that shows a planted defect is what is asked for.
            _confirm(one, asked.plant)
            break
        if report.failed >= _FAILURES_MAX:
            break
    report.seconds = round(time.monotonic() - began, 1)
    sys.stdout.write(f"{report.line()}\n")
    if asked.out is not None:
        report.write(asked.out)
    return 1 if report.failed else 0


def _confirm(found: Played, plant: str) -> None:
    """See to it that a seed shows a planted defect again, and nothing without it."""
    again = _one(plant, found.seed)
    if again != found:
        raise RuntimeError(f"seed {found.seed} with {plant} gave {again}, and {found} before")
    healthy = _one(None, found.seed)
    if healthy.violations:
        raise RuntimeError(f"seed {found.seed} breaks promises without {plant}: {healthy}")


def _each(seeds: range, jobs: int, plant: str | None) -> Iterator[Played]:
    play = partial(_one, plant)
    gc.collect()
    gc.freeze()
    if jobs == 1:
        yield from map(play, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=100) as pool:
        yield from pool.imap(play, seeds, chunksize=_CHUNK)


def _one(plant: str | None, seed: int) -> Played:
    return played(simulate(seed, PLANTS[plant] if plant else {}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
