"""What an error of psycopg means to the caller: whether anything was written, and what to do.

An error that the server answers with has undone the transaction: nothing was written. A connection
that is lost before COMMIT was sent has, too; afterwards nobody knows. Errors that tell of a mistake
in this adapter (class 42, and 22 and 23) are left as they are. PostgreSQL's codes:
https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

import re
from typing import Final

import psycopg

from penstock.broker.rules import AGAIN
from penstock.errors import BadSetting, BrokerError, OutcomeUnknown, PenstockError, Unavailable

#: Codes, and beginnings of codes -> what to do.
_ADVICE: Final[tuple[tuple[str, str], ...]] = (
    ("25006", "it is read-only: give the address of the primary"),
    ("25P03", "this process stood still inside a transaction: call again"),
    ("40", "other calls were in the way, again and again: call again"),
    ("53100", "its disk is full: make room, and call again"),
    ("53300", "it has no connection left: raise max_connections, or start fewer processes"),
    ("53", "it has no room left: look at its log"),
    ("55P03", "another session keeps a lock: look at pg_locks"),
    ("57P03", "it is starting or shutting down: call again"),
    ("57", "an operator or a shutdown ended the session: call again"),
    ("58", "its system failed: look at its log"),
)
#: Codes that say that the URL is wrong: password, user, database, right.
_BAD_URL: Final = ("28", "3D000", "3F000", "42501")
#: The same while connecting, for which libpq gives no code.
_REFUSED: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied for"
    r'|(role|database) "[^"]*" does not exist'
)
#: What a server without room says under other codes, or without one: of quotas and limits, and to
#: those who connect, since it writes a file for each session.
_FULL: Final = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|could not write init file"
)
#: Codes of transactions that were in each other's way: the same again is right.
_TRY_AGAIN: Final = ("40001", "40P01", "55P03")


def is_worth_another_try(error: psycopg.Error) -> bool:
    """Return whether the transaction was undone because another one was in its way."""
    return error.sqlstate in _TRY_AGAIN


def in_connect(error: psycopg.Error, location: str) -> PenstockError:
    """Return the port's error for one raised while connecting."""
    is_refused = error.sqlstate is not None and error.sqlstate.startswith(_BAD_URL)
    if is_refused or _REFUSED.search(str(error)):
        return BadSetting(
            f"{location}: the server refuses this user or database: mend the URL ({_said(error)})"
        )
    return Unavailable(
        f"{location}: {_advice(error) or 'no connection: start the server, or mend the URL'} "
        f"(nothing was written; {_said(error)})"
    )


def in_call(
    error: psycopg.Error, location: str, *, is_lost: bool, is_sent: bool
) -> PenstockError | None:
    """Return the port's error for one raised by a statement, None for a mistake in this adapter.

    Args:
        error: what was raised.
        location: of the server.
        is_lost: the connection is broken.
        is_sent: COMMIT, or a statement that commits by itself, was sent.
    """
    if is_lost and is_sent:
        return OutcomeUnknown(
            f"{location}: the connection was lost while COMMIT was under way, and the write may or "
            f"may not have happened: {AGAIN} ({_said(error)})"
        )
    state = error.sqlstate or ""
    if not is_lost and state[:2] in {"42", "22", "23", ""} and state != "42501":
        return None
    return _definite(error, location, is_lost=is_lost)


def _definite(error: psycopg.Error, location: str, *, is_lost: bool) -> BrokerError:
    other = "the connection was lost: call again" if is_lost else "it failed: look at its log"
    advice = _advice(error) or other
    return Unavailable(f"{location}: {advice} (nothing was written; {_said(error)})")


def _advice(error: psycopg.Error) -> str | None:
    state = "53100" if _FULL.search(str(error)) else error.sqlstate or ""
    return next((text for start, text in _ADVICE if state.startswith(start)), None)


def _said(error: psycopg.Error) -> str:
    """Return the first line of what PostgreSQL said; it never holds a password."""
    lines = str(error).strip().splitlines()
    return f"PostgreSQL: {lines[0] if lines else type(error).__name__}"
