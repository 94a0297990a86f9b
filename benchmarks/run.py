"""Measure everybody, round by round, and write samples and page.

usage: python -m benchmarks.run FOLDER [--scenario embedded|redis|postgres|mixed_memory]
           [--rounds N] [--only enqueue,drain,...] [--who NAME,...] [--long]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import contestants, report
from benchmarks.page import page

if TYPE_CHECKING:
    from benchmarks.contestants import Contestant
    from benchmarks.scenario import Scenario

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ("embedded", "redis", "postgres", "mixed_memory")
#: Failures of one contestant in one measure after which it is not tried again.
TRIES = 2


def main() -> int:
    """Run one scenario and leave `SCENARIO.{json,md}` in FOLDER; 1: a promise was broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenario", choices=SCENARIOS, default="embedded")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="measures, with commas; default: all")
    parser.add_argument("--who", help="names of contestants, with commas; default: all")
    parser.add_argument("--long", action="store_true", help="also what takes very long")
    options = parser.parse_args()
    scenario = load(options.scenario)
    everybody = chosen_contestants(scenario, options.who)
    run = Run(scenario, everybody, chosen_measures(scenario, options.only, long=options.long))
    # A run that is told to stop ends the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    run.install()
    all_held = True
    for number in range(options.rounds):
        run.round(number)
        # After each round, so that a run that is stopped leaves what it has.
        document = {
            "scenario": options.scenario,
            "machine": machine(everybody),
            "rounds": number + 1,
            "drain_jobs": {" ".join(one.key): one.drain_jobs for one in everybody},
            "samples": run.samples,
            "failures": run.failures,
        }
        all_held = write(options.folder, options.scenario, scenario, document)
    print((options.folder / f"{options.scenario}.md").read_text())
    return 0 if all_held else 1


def load(name: str) -> Scenario:
    """Return a scenario by its name."""
    scenario: Scenario = import_module(f"benchmarks.scenarios.{name}").SCENARIO
    return scenario


def chosen_contestants(scenario: Scenario, names: str | None) -> list[Contestant]:
    """Return who takes part in this run."""
    everybody = scenario.everybody()
    if names is None:
        return everybody
    known = {one.name for one in everybody}
    if unknown := set(names.split(",")) - known:
        raise SystemExit(f"no contestant {', '.join(unknown)}; there are {', '.join(known)}")
    return [one for one in everybody if one.name in names.split(",")]


def chosen_measures(scenario: Scenario, names: str | None, *, long: bool) -> list[str]:
    """Return what is measured in this run."""
    if names is None:
        return [one for one in scenario.measures if long or one not in scenario.long]
    if unknown := set(names.split(",")) - set(scenario.measures):
        raise SystemExit(
            f"no measure {', '.join(unknown)}; there are {', '.join(scenario.measures)}"
        )
    return names.split(",")


class Run:
    """Samples and failures as they come."""

    def __init__(
        self, scenario: Scenario, everybody: list[Contestant], measures: list[str]
    ) -> None:
        """Know who is measured, and how."""
        self._scenario = scenario
        self._everybody = everybody
        self._measures = measures
        self.samples: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []

    def install(self) -> None:
        """Make the environments; who cannot be installed is left out, and the page says why."""
        for lock in sorted({one.lock for one in self._everybody if one.lock}):
            try:
                contestants.install(lock)
            except RuntimeError as error:
                for one in [one for one in self._everybody if one.lock == lock]:
                    self._fail(0, one, "install", error)
                self._everybody = [one for one in self._everybody if one.lock != lock]

    def round(self, number: int) -> None:
        """Take every measure of everybody once, in turn."""
        for measure in self._measures:
            if measure in self._scenario.once and number > 0:
                continue
            # Every second round runs backwards, so that no contestant always goes first.
            for one in self._everybody if number % 2 == 0 else reversed(self._everybody):
                if one.measures is None or measure in one.measures:
                    self._take(number, one, measure)

    def _take(self, number: int, one: Contestant, measure: str) -> None:
        if self._failed(one, measure) >= TRIES:
            return
        try:
            found = self._scenario.measures[measure](one)
        except Exception as error:  # noqa: BLE001 - one contestant's fault must not end the run
            self._fail(number, one, measure, error)
            return
        if found:
            values = " ".join(f"{name}={value:,.2f}" for name, value in found.items())
            print(f"round {number + 1} {' '.join(one.key)} {values}", flush=True)
        self.samples += [
            {"round": number, "name": one.name, "variant": one.variant, "figure": figure,
             "value": value}
            for figure, value in found.items()
        ]  # fmt: skip

    def _failed(self, one: Contestant, measure: str) -> int:
        key = (*one.key, measure)
        return sum(key == (f["name"], f["variant"], f["measure"]) for f in self.failures)

    def _fail(self, number: int, one: Contestant, measure: str, error: Exception) -> None:
        # Where this checkout stands is nobody's affair.
        message = f"{type(error).__name__}: {error}".replace(str(ROOT), ".")
        shown = report.brief(message) if self._failed(one, measure) else message
        print(f"round {number + 1} {' '.join(one.key)} {measure} FAILED {shown}", flush=True)
        self.failures.append(
            {"round": number, "name": one.name, "variant": one.variant, "measure": measure,
             "message": report.brief(message)}
        )  # fmt: skip


def machine(everybody: list[Contestant]) -> dict[str, Any]:
    """Return what the figures depend on."""
    peers: dict[str, str] = {}
    for lock in sorted({one.lock for one in everybody if one.lock}):
        packages = contestants.versions(lock)
        wanted = {lock.removesuffix("-redis"), "bullmq", "taskiq-redis"}
        peers |= {f"{name} ({lock})" if lock == "node" else name: packages[name]
                  for name in sorted(wanted & packages.keys())}  # fmt: skip
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "commit": said("git", "rev-parse", "--short", "HEAD"),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": {
            "Python": platform.python_version(),
            "apsw": version("apsw"),
            "redis-server": said("redis-server", "--version").partition("v=")[2].split(" ")[0],
            "postgres": said("postgres", "--version").rpartition("PostgreSQL) ")[2],
            "node": said("node", "--version"),
            **peers,
        },
    }


def said(*command: str) -> str:
    """Return what a program prints; "none" where it is not there."""
    if shutil.which(command[0]) is None:
        return "none"
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write(folder: Path, name: str, scenario: Scenario, document: dict[str, Any]) -> bool:
    """Leave samples, verdicts and page in the folder; return whether no promise was broken."""
    groups = report.grouped(document["samples"])
    verdicts = [report.verdict(groups, scenario.figures, bar) for bar in scenario.bars]
    document["verdicts"] = [dataclasses.asdict(one) for one in verdicts]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / f"{name}.md").write_text(page(name, scenario, document))
    return not any(one.is_broken for one in verdicts)


if __name__ == "__main__":
    sys.exit(main())
