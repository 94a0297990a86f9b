"""How large the fault suite runs, and where its numbers go.

`make test` runs each scenario with the small counts; `make proof AREA=faults` sets CHAOS_PROOF to
the folder of its report, which asks for the large ones.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.history import Event
from tests.support.site import Site
from tests.support.summary import Publish, Summary

#: Environment variable: the folder of the proof's report; set only by the proof.
PROOF_ENV = "CHAOS_PROOF"
#: Bytes of one history that is kept with the report, before it is packed tenfold.
HISTORY_BYTES_MAX = 8 * 2**20


@pytest.fixture(scope="session")
def proof_folder() -> Path | None:
    """The folder of the report, None outside `make proof`."""
    folder = os.environ.get(PROOF_ENV)
    return None if folder is None else Path(folder)


@pytest.fixture(scope="session")
def count(proof_folder: Path | None) -> Callable[[int, int], int]:
    """Choose between the count of `make test` and that of `make proof`."""
    return lambda small, large: small if proof_folder is None else large


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Make sites that are torn down together, each in its own folder."""
    sites: list[Site] = []

    def make(name: str = "site", **settings: Any) -> Site:
        site = Site(tmp_path / name, **settings)
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.__exit__(None, None, None)


@pytest.fixture(scope="session")
def publish(proof_folder: Path | None) -> Publish:
    """Keep a row of the report, and the history behind it, in `make proof` only."""

    def keep(row: Summary, events: Sequence[Event] = ()) -> None:
        if proof_folder is None:
            return
        name = re.sub("[^a-z0-9]+", "-", row.scenario.lower())
        (proof_folder / f"{name}.json").write_bytes(msgspec.json.encode(row) + b"\n")
        lines = b"\n".join(map(msgspec.json.encode, events))
        # Histories of the great races are left out: the row says what they came to.
        if 0 < len(lines) <= HISTORY_BYTES_MAX:
            packed = gzip.compress(lines, mtime=0)
            (proof_folder / f"{name}.history.jsonl.gz").write_bytes(packed)

    return keep
