"""Where the engine's proof leaves its figures.

`make proof AREA=engine` sets ENGINE_PROOF to its folder, which asks the tests that know of it for
their large counts, and for a file of figures each. Without it they leave nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tests.support.origin import origin

#: Environment variable: the folder of the proof.
ENGINE_PROOF_ENV = "ENGINE_PROOF"


def proof_folder() -> Path | None:
    """Return the folder of the proof, None outside of it."""
    folder = os.environ.get(ENGINE_PROOF_ENV)
    return Path(folder) if folder else None


def publish(name: str, rows: Sequence[Mapping[str, object]], folder: Path | None) -> None:
    """Write `{"origin": ..., NAME: rows}` into NAME.json of the folder, if there is one."""
    if folder is not None:
        document = msgspec.json.encode({"origin": origin(), name: rows})
        text = msgspec.json.format(document, indent=1)
        (folder / f"{name}.json").write_bytes(text + b"\n")
