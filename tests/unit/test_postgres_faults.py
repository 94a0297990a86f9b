"""What an error of PostgreSQL is told as: the way out that fits, whatever code it came under."""

from __future__ import annotations

import psycopg
import pytest

from penstock.brokers.postgres import faults
from penstock.errors import Unavailable

#: Words of the server -> what the caller is told to do.
FULL = "its disk is full: make room, and call again"
#: A code that says nothing but that something went wrong inside.
INTERNAL = psycopg.errors.lookup("XX000")


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), FULL),
        (INTERNAL('could not extend file "base/5/1": File too large'), FULL),
        (INTERNAL('could not write to file "base/5/1": Disk quota exceeded'), FULL),
        (INTERNAL("unexpected chunk number"), "it failed: look at its log"),
    ],
)
def test_an_error_of_a_call_names_the_way_out(error: psycopg.Error, way_out: str) -> None:
    """The server has answered, so that nobody is told that a connection was lost."""
    told = faults.in_call(error, "here", is_lost=False, is_sent=True)
    assert type(told) is Unavailable
    assert str(told).startswith(f"here: {way_out} (nothing was written; PostgreSQL: ")


def test_a_lost_connection_is_told_as_one() -> None:
    """Before anything that commits was sent nothing is written."""
    error = psycopg.OperationalError("server closed the connection unexpectedly")
    told = faults.in_call(error, "here", is_lost=True, is_sent=False)
    assert type(told) is Unavailable
    assert "the connection was lost: call again" in str(told)


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("FATAL:  could not write init file", FULL),
        ("Connection refused", "no connection: start the server, or mend the URL"),
    ],
)
def test_an_error_while_connecting_names_the_way_out(text: str, way_out: str) -> None:
    """A server without room cannot make the file that each session needs, and gives no code."""
    told = faults.in_connect(psycopg.OperationalError(f"connection failed: {text}"), "here")
    assert type(told) is Unavailable
    assert str(told).startswith(f"here: {way_out} ")
