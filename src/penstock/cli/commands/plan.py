"""`penstock plan`: what a profile needs, held against this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli import fleet
from penstock.cli.command import Answer
from penstock.cli.exits import Exit
from penstock.cli.session import Session


def plan(
    session: Session,
    profile: Annotated[
        str | None,
        typer.Argument(metavar="PROFILE", help="Name of a profile. Without one: all of them."),
    ] = None,
) -> Answer:
    """Print the cores, memory and GPUs that a profile needs, and hold them against this machine.

    The jobs of each queue are held against the workers that serve it. Exits with 1 when the profile
    does not fit. JSON: one ProfilePlan; without PROFILE {"profiles":
    [ProfilePlan]}, and the exit code says nothing of them.
    """
    config = session.config()
    if profile is None:
        fleet.list_profiles(session.output, config)
        return None
    found = fleet.planned(config, fleet.find(config, profile), fleet.machine())
    if session.output.as_json:
        session.output.document(found)
    else:
        fleet.show(session.output, found)
    return Exit.OK if found.fits else Exit.FAILED
