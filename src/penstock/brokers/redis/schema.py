"""The version of what stands in the keys: noted where it is older, refused where beyond."""

from __future__ import annotations

from typing import Final

from penstock.broker.schema import Schema, check_schema

from .scripts import Script
from .server import Server
from .verbs import Question

#: Version that this adapter reads and writes, and the one that a Penstock must know to use what it
#: writes: that before, which leaves alone and forgets what version 3 adds (usages, capacities and
#: footprints); scripts go by their digests.
SCHEMA: Final = Schema(version=3, needs=2)


def prepare(server: Server, root: str, script: Script) -> Schema:
    """Note the version where the keys are older. Several processes may do so at once; one does.

    Returns:
        What the keys say of themselves, which may be newer than this Penstock.

    Raises:
        BadSetting: they need a newer Penstock; nothing was changed.
        Unavailable: the server cannot be reached.
    """
    question = Question(script, SCHEMA, lambda answer: Schema(*answer), writes=False)
    # A repeat changes nothing, so that an answer which is lost is no unknown outcome.
    found = question.read(server.run(root, question))
    check_schema(found, SCHEMA.version, server.where, or_else="give another database")
    return found
