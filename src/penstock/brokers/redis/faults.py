"""What an error of the server or of the way to it means: was anything written, and what to do."""

from __future__ import annotations

from typing import Final

from redis import exceptions as e

from penstock.broker.rules import AGAIN
from penstock.errors import BrokerError, OutcomeUnknown, QueueFull, Unavailable


class Reply(Exception):
    """A reply that is an error: the server's own text."""

    @property
    def is_no_script(self) -> bool:
        """Whether the server does not have the script."""
        return str(self).startswith("NOSCRIPT")


#: Errors of redis-py that are replies of the server, whose first word it takes away: -> that word.
#: Some of them count as broken connections there, though the server told that it wrote nothing.
_WORDS: Final = (
    (e.OutOfMemoryError, "OOM"),
    (e.BusyLoadingError, "LOADING"),
    (e.ReadOnlyError, "READONLY"),
    (e.MasterDownError, "MASTERDOWN"),
    (e.NoPermissionError, "NOPERM"),
    (e.AuthenticationError, "NOAUTH"),
)
#: What the server may answer instead of running a script.
REPLIES: Final = (e.ResponseError, e.BusyLoadingError, e.AuthenticationError)
#: First word of a reply -> the way out. The server refused the script before it ran.
_REFUSED: Final = {
    "LOADING": "the server reads its data: call again in a moment",
    "READONLY": "this server is a replica: give the URL of the primary",
    "MASTERDOWN": "this replica has lost its primary: give the URL of the primary",
    "BUSY": "a script holds the server up: look for it with SLOWLOG GET, and call again",
    "MISCONF": "the server cannot write to its disk: make room, and call again",
    "NOREPLICAS": "too few replicas answer (min-replicas-to-write): look at INFO replication",
    "NOPERM": "this user may not do it: docs/explanation/redis-layout.md names the rights it needs",
    "NOAUTH": "the server refuses this user or password: put the right one into the URL",
    "NODB": "it has no database of this number: put another one into the URL, most have 0 to 15",
    "PENSTOCK_TAGS": "it lost its data and gave its queues other tags: start this process anew",
}
#: Those of them that stay until somebody mends the URL, or the server's users.
_LASTING: Final = frozenset({"NOPERM", "NOAUTH", "NODB"})
#: What a server says to a number in the URL that is none of its databases; it has no word for it.
_NO_DATABASE: Final = "DB index is out of range"
#: What it says instead of NOAUTH where the command is too long for somebody whom it does not know.
_UNKNOWN_CALLER: Final = "Protocol error: unauthenticated"
#: Seconds after which a full server may have room again: some of its jobs have ended by then.
_RETRY_AFTER_S: Final = 5.0


def refused(error: Exception, where: str, *, writes: bool = False) -> BrokerError:
    """Return the port's error for a reply that is an error.

    What the server answers instead of running a script wrote nothing. A script that breaks off in
    the middle is not rolled back.

    Args:
        error: the reply.
        where: the server, for messages.
        writes: the script may have written something before it broke off.
    """
    text = str(error)
    first = text.split(" ", 1)[0].removeprefix("-")
    word = next((word for kind, word in _WORDS if isinstance(error, kind)), first)
    if _NO_DATABASE in text:
        word = "NODB"
    if _UNKNOWN_CALLER in text:
        word = "NOAUTH"
    if word == "OOM":
        return QueueFull(
            f"{where}: its memory is full (maxmemory), nothing was written: end or prune jobs, or "
            "give the server more memory; workers go on to settle",
            retry_after_s=_RETRY_AFTER_S,
        )
    if writes and word not in _REFUSED:
        return OutcomeUnknown(
            f"{where} broke off with {text!r:.300}, so a part may be written: {AGAIN}"
        )
    advice = _REFUSED.get(word, f"the server answered {text!r:.300}")
    told = Unavailable(f"{where}: {advice} (nothing was written)")
    told.lasts = word in _LASTING
    return told


def not_reached(error: Exception, where: str) -> Unavailable:
    """Return the error for a server that could not be reached."""
    return Unavailable(
        f"{where} cannot be reached, nothing was written: start the server or correct the URL "
        f"({type(error).__name__}: {error})"
    )


def not_replicated(where: str) -> OutcomeUnknown:
    """Return the error for a write that stands on the primary, and perhaps nowhere else."""
    return OutcomeUnknown(
        f"{where} wrote it, but no replica confirmed it in time, so it may be lost with the "
        f"server: {AGAIN}; look at INFO replication"
    )


def lost(error: Exception, where: str) -> OutcomeUnknown:
    """Return the error for a call that was sent and never answered."""
    return OutcomeUnknown(
        f"{where} did not answer, so the write may or may not have happened: {AGAIN} "
        f"({type(error).__name__}: {error})"
    )
