"""How a worker is doing: one JSON document per connection to a unix socket.

`ready`: it takes work. `live`: its loops move; a worker that is not live should be restarted, since
a process that lives is not yet a worker that consumes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from penstock.errors import Unavailable

#: Bytes of a document; a hundred runners have about 40 KiB.
_DOCUMENT_BYTES_MAX: Final = 2**22
#: Seconds that a reader waits: a worker answers in milliseconds or is stuck.
_READ_S: Final = 2.0
_SUFFIX: Final = ".sock"


class UnsafeFolderError(PermissionError):
    """The folder of health sockets is not this user's alone."""


class RunnerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One runner.

    Attributes:
        silent_ms: how long it has not beaten, counted while the supervisor was awake; None: it has
            not begun to.
        claim_age_ms: since its claim loop last moved, at its last beat.
        loop_lag_ms: how late its event loop was, at its last beat.
    """

    pid: int
    phase: str
    running: int
    settled: int
    failed: int
    silent_ms: int | None
    claim_age_ms: int | None
    loop_lag_ms: int | None


class ChildHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One child: the job it runs, None while idle, and how many it has begun."""

    pid: int
    job: str | None
    jobs: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One worker.

    Attributes:
        phase: starting, running, quiet, draining.
        ready: it takes work.
        live: its loops move.
        wrong: why it is not live, in words; empty if it is.
        broker_error: the last error while the broker does not answer.
        leases: open leases.
        extended_ago_ms: since the leases were last extended.
        reclaimed_ago_ms: since the last look for jobs of the dead.
        hold_ms: how long leases that merely ran out are left alone, after an outage.
        claimed_ago_ms: since the supervisor's own claim loop last moved.
        taken: jobs taken over from the dead, since the start.
        restarts: runners started in the place of one that failed.
        settled: attempts settled since the start, by runners as far as their last beats tell.
        defects: failures inside the supervisor that nobody foresaw; the log has each.
        slots: slots of the worker, and how many children hold.
        modules: packages in the supervisor that are not Python's own; user code must not be there.
    """

    worker: str
    pid: int
    app: str
    queues: tuple[str, ...]
    phase: str
    ready: bool
    live: bool
    wrong: str
    uptime_ms: int
    broker: str
    broker_error: str | None
    leases: int
    extended_ago_ms: int
    reclaimed_ago_ms: int
    hold_ms: int
    claimed_ago_ms: int
    taken: int
    restarts: int
    settled: int
    defects: int
    slots: int
    slots_of_children: int
    runners: tuple[RunnerHealth, ...]
    children: tuple[ChildHealth, ...]
    modules: tuple[str, ...]


def health_dir(environ: Mapping[str, str], given: str | None = None) -> Path:
    """Return the folder of health sockets: `given`, else one in the user's runtime directory."""
    if given is not None:
        return Path(given)
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "penstock"
    return Path(environ.get("TMPDIR", "/tmp")) / f"penstock-{os.getuid()}"  # noqa: S108 - 0700, owner checked


def health_sockets(folder: Path) -> list[Path]:
    """Return the sockets in a folder, those of dead workers too; none if there is no folder."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def socket_name(worker: str) -> str:
    """Return the file name of a worker's socket: the part of its name that is unique, and short."""
    return worker.rpartition("@")[2] + _SUFFIX


def read_health(path: Path, *, timeout_s: float = _READ_S) -> Health:
    """Ask the worker behind a socket how it is doing.

    Raises:
        Unavailable: nobody answers there, or not in time: the worker is dead or stuck; or others
            than this user can write to its folder: whoever answers may be no worker of theirs.
    """
    received = bytearray()
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking,
            short_path(path) as name,
        ):
            asking.settimeout(timeout_s)
            asking.connect(name)
            while len(received) < _DOCUMENT_BYTES_MAX and (part := asking.recv(65_536)):
                received += part
        return msgspec.json.decode(received, type=Health)
    except UnsafeFolderError as error:
        raise Unavailable(f"the worker behind {path} is not asked: {error}") from error
    except (OSError, msgspec.DecodeError) as error:
        raise Unavailable(
            f"the worker behind {path} does not answer ({error!r}): it is dead or stuck"
        ) from error


def check_folder(folder: Path, found: os.stat_result) -> None:
    """Refuse a folder of health sockets that others can write to: they could swap a socket.

    Args:
        folder: named in the error.
        found: what it is, links not followed.

    Raises:
        UnsafeFolderError: it is not a folder that only this user can write to.
    """
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UnsafeFolderError(f"{folder} is not a folder that only this user can write to")


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for `path` that fits into a socket address, which holds 107 bytes.

    Raises:
        UnsafeFolderError: others than this user can write to its folder.
        OSError: its folder cannot be opened.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(path.parent, flags)
    except NotADirectoryError:
        check_folder(path.parent, path.parent.lstat())
        raise
    try:
        # Race: what is checked is the folder that is open, so it cannot be swapped afterwards.
        check_folder(path.parent, os.fstat(folder))
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
