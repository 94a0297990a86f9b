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

from tests.support.brokers import KINDS, Brokers, Kind
from tests.support.history import Event
from tests.support.site import Site
from tests.support.summary import Publish, Summary, chaos_scale

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
def is_proof(proof_folder: Path | None) -> bool:
    """Whether this is `make proof`, for what differs in more than a count."""
    return proof_folder is not None


@pytest.fixture(scope="session")
def count(proof_folder: Path | None) -> Callable[[int, int], int]:
    """Choose between the count of `make test` and that of `make proof`, cut by CHAOS_SCALE."""
    scale = chaos_scale()

    def choose(small: int, large: int) -> int:
        return small if proof_folder is None else max(small, round(scale * large))

    return choose


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    """Empty brokers of every kind, on servers that start when they are first asked for."""
    with Brokers() as found:
        yield found


@pytest.fixture(params=KINDS)
def broker_kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of broker, for tests that run one after the other."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def make_site(tmp_path: Path, brokers: Brokers) -> Iterator[Callable[..., Site]]:
    """Make sites that are torn down together, each in its own folder, on a file unless told.

    `on` names another kind of broker, `url` a broker of the test's own. Safe from many threads.
    """
    sites: list[Site] = []

    def make(name: str = "site", *, on: Kind = "sqlite", **settings: Any) -> Site:
        folder = tmp_path / f"{name}-{on}"
        settings.setdefault("url", brokers.url(on, folder))
        site = Site(folder, **settings)
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
        name = re.sub("[^a-z0-9]+", "-", f"{row.scenario} {row.broker}".lower())
        (proof_folder / f"{name}.json").write_bytes(msgspec.json.encode(row) + b"\n")
        lines = b"\n".join(map(msgspec.json.encode, events))
        # Histories of the great races are left out: the row says what they came to.
        if 0 < len(lines) <= HISTORY_BYTES_MAX:
            packed = gzip.compress(lines, mtime=0)
            (proof_folder / f"{name}.history.jsonl.gz").write_bytes(packed)

    return keep
