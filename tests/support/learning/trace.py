"""Recorded runs as they are kept: compressed JSON, one a line, in the order in which they ended."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

_FIXTURES: Final = Path(__file__).resolve().parents[2] / "fixtures"
#: Recorded on a real worker by `python -m tests.support.learning.record`, with seeds 1 and 2. On
#: the first the numbers of the rule were set; after a look at the second it was mended beyond all
#: that ran (ADR-0038).
SET: Final = (_FIXTURES / "runs-1.jsonl.gz", _FIXTURES / "runs-2.jsonl.gz")
#: Recorded after that, with seed 3: by these it is judged, and nothing was changed since.
JUDGED: Final = _FIXTURES / "runs-3.jsonl.gz"


class Recorded(msgspec.Struct, frozen=True, array_like=True):
    """One run of a task in a child, as its attempt tells.

    Attributes:
        task: its name.
        size: the hint; None: the task gives none.
        peak_bytes: what it took at most, its interpreter included.
        run_ms: from its claim to its settlement.
        at_ms: when it ended, since the first line.
        measured: how, as in `core.usage`.
    """

    task: str
    size: float | None
    peak_bytes: int
    run_ms: int
    at_ms: int
    measured: str


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: where the runs are from.

    Attributes:
        origin: machine and commit.
        seed: of sizes and inputs.
        short: attempts that had too little memory by what was learned at that time, and were run
            again; the peak is that of the attempt that succeeded.
        columns: names of what stands in each line.
    """

    origin: str
    seed: int
    short: int
    columns: tuple[str, ...] = Recorded.__struct_fields__


def read(path: Path) -> tuple[Head, list[Recorded]]:
    """Return what was recorded."""
    head, *lines = gzip.decompress(path.read_bytes()).splitlines()
    runs = msgspec.json.Decoder(Recorded)
    return msgspec.json.decode(head, type=Head), [runs.decode(line) for line in lines]


def write(path: Path, head: Head, runs: Sequence[Recorded]) -> None:
    """Keep runs."""
    lines = [msgspec.json.encode(head), *map(msgspec.json.encode, runs), b""]
    path.write_bytes(gzip.compress(b"\n".join(lines), mtime=0))
