"""Whether a path is a place where a SQLite file is safe, asked before anything is opened."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Final

from penstock.errors import BadSetting

#: File systems on which another host may write, where SQLite's locks and shared memory fail
#: (sqlite.org/wal.html: "all processes using a database must be on the same host computer").
_NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    }
)
#: File systems that forget everything at a reboot.
_VOLATILE: Final = frozenset({"ramfs", "tmpfs"})
#: Why a file cannot be made at this moment, which another moment may change.
_PASSING: Final = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EINTR,
        errno.EAGAIN,
    }
)
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def check_place(path: Path, *, mounts: str | None = None) -> str:
    """Return the kind of file system that `path` is on.

    Args:
        path: absolute; the file need not exist, its directory must.
        mounts: text in the form of /proc/self/mountinfo; None: read it.

    Raises:
        BadSetting: `path` is a directory or cannot be looked at, its directory is missing, or the
            file system is one that several hosts write to.
    """
    try:
        is_directory, has_directory = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise BadSetting(
            f"{path} cannot be looked at ({error.strerror}): give another path, or give this user "
            "the right to enter its directory"
        ) from error
    if is_directory:
        raise BadSetting(f"{path} is a directory: give the path of a file in it")
    if not has_directory:
        raise BadSetting(f"{path.parent} is no directory: make it, or give another path")
    kind = file_system_of(path.parent.resolve(), _read_mounts() if mounts is None else mounts)
    if kind in _NETWORK:
        raise BadSetting(
            f"{path} is on {kind}, a network file system, where SQLite's locks do not hold: put "
            "it on a local disk, or use Redis or PostgreSQL to share jobs between hosts"
        )
    return kind


def can_be_opened(path: Path) -> bool:
    """Return whether this user may open the file, or make it; asked where SQLite could not.

    A file that is there is not opened: closing it would drop the locks that SQLite has on it.
    """
    try:
        if path.exists():
            return os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
    except OSError as error:
        return error.errno in _PASSING
    return True


def warnings_of(path: Path, kind: str) -> tuple[str, ...]:
    """Return what endangers jobs at this place, each with the way out."""
    if kind in _VOLATILE:
        return (f"{path} is on {kind} and ends with this boot: put it on a disk to keep jobs",)
    if kind.startswith("fuse") or kind == "virtiofs":
        return (f"{path} is on {kind}, whose locks may not hold: put it on a local disk",)
    return ()


def file_system_of(directory: Path, mounts: str) -> str:
    """Return the kind of the innermost mount that holds `directory`, "unknown" if none is told."""
    found, depth = "unknown", -1
    for line in mounts.splitlines():
        fields, _, source = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), fields.split()[4]))
        # A later mount on the same point hides the earlier one.
        if directory.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = source.split()[0], len(point.parts)
    return found


def _read_mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
