"""Measure everybody, round by round, and write samples and table.

usage: python -m benchmarks.run FOLDER [--rounds N] [--only enqueue,drain,...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import contestants, report
from benchmarks.scenarios import embedded


def main() -> None:
    """Run the embedded scenario and leave `embedded.json` and `embedded.md` in FOLDER."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(embedded.MEASURES))
    options = parser.parse_args()
    everybody = contestants.all_contestants()
    for lock in sorted({one.lock for one in everybody if one.lock}):
        contestants.install(lock)
    samples: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for measure in options.only.split(","):
            # Every second round runs backwards, so that no contestant always goes first.
            for one in everybody if number % 2 == 0 else reversed(everybody):
                found = embedded.MEASURES[measure](one)
                print(f"round {number + 1} {one.name} {one.durability} {_short(found)}", flush=True)
                samples += [
                    {"round": number, "name": one.name, "durability": one.durability,
                     "figure": figure, "value": value}
                    for figure, value in found.items()
                ]  # fmt: skip
    document = {"machine": machine(), "rounds": options.rounds, "samples": samples}
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "embedded.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.folder / "embedded.md").write_text(report.embedded(document))
    print((options.folder / "embedded.md").read_text())


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - the git of the checkout
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "apsw": version("apsw"),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _short(found: dict[str, float]) -> str:
    return " ".join(f"{name}={value:,.2f}" for name, value in found.items())


if __name__ == "__main__":
    main()
