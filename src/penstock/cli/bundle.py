"""The file that holds what is needed to reproduce a job: one JSON document, for its owner alone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from penstock.cli.exits import Declined
from penstock.cli.shapes import JobDocument
from penstock.core.job import JobRecord
from penstock.core.memory_curve import Point
from penstock.core.runtime import Runtime
from penstock.errors import BadSetting
from penstock.serializers.sealing import FIELD

#: Version of the form; a reader refuses what is newer.
FORMAT: Final = 1
#: What the owner may do with the file, and nobody else: arguments and logs are in it.
_MODE: Final = 0o600


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job (`dead show --bundle`).

    Attributes:
        bundle: version of this form.
        made_at: when it was made.
        job: the document of `penstock job`; secret arguments are the text "•••".
        secrets: names of the secret arguments, whose values are not here.
        worker: in what the last attempt ran that told; null: none did.
        here: in what this file was made, without its environment.
        installed: distributions, name -> version.
        installed_on: "worker": they are what the worker had; "here": those of the machine that made
            this file, which the worker's are not, or are not known to be.
        curve: what the last attempt that was watched held: milliseconds since its start, bytes.
        unknown: what is not here, and why, in words.
    """

    bundle: int = FORMAT
    made_at: int
    job: JobDocument
    secrets: tuple[str, ...]
    worker: Runtime | None
    here: Runtime
    installed: dict[str, str]
    installed_on: str
    curve: tuple[Point, ...]
    unknown: tuple[str, ...]


class _Names(msgspec.Struct, frozen=True):
    names: tuple[str, ...] = ()


class _Sealed(msgspec.Struct, frozen=True):
    secret: _Names = msgspec.field(default=_Names(), name=FIELD)


def make(record: JobRecord, *, here: Runtime, installed: dict[str, str], made_at: int) -> Bundle:
    """Return the bundle of a job, from what the broker and this machine know.

    Args:
        record: the job.
        here: of this process, without its environment.
        installed: on this machine, name -> version.
        made_at: wall time, milliseconds.
    """
    usages = [one.usage for one in record.attempts if one.usage is not None]
    worker = next((one.runtime for one in reversed(usages) if one.runtime is not None), None)
    curve = next((one.curve for one in reversed(usages) if one.curve), ())
    is_same = worker is not None and worker.packages == here.packages
    unknown = []
    if worker is None:
        unknown.append(
            "versions, packages and environment of the worker: no attempt failed in a child"
        )
    elif not is_same:
        unknown.append("packages of the worker: they differ from those of this machine")
    if not curve:
        unknown.append("memory over time: no attempt failed in a child that was watched")
    secrets = secret_names(record.spec.payload)
    if secrets:
        unknown.append(f"secret arguments: {', '.join(secrets)}")
    return Bundle(
        made_at=made_at,
        job=JobDocument.of(record),
        secrets=secrets,
        worker=worker,
        here=here,
        installed=installed,
        installed_on="worker" if is_same else "here",
        curve=curve,
        unknown=tuple(unknown),
    )


def secret_names(payload: msgspec.Raw) -> tuple[str, ...]:
    """Return the parameters whose arguments are secrets; those that cannot be read have no name."""
    try:
        return msgspec.json.decode(payload, type=_Sealed).secret.names
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ()


def write(bundle: Bundle, path: Path, *, force: bool) -> int:
    """Write the file for its owner alone, whole or not at all; return its size in bytes.

    Args:
        bundle: what it will hold.
        path: where; its folder must be there.
        force: replace what stands there.

    Raises:
        Declined: there is something, and `force` is not given.
        BadSetting: it cannot be written there.
    """
    text = msgspec.json.format(msgspec.json.encode(bundle), indent=2) + b"\n"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        file = _new(beside)
        try:
            with file:
                file.write(text)
            if force:
                beside.replace(path)
            else:
                # Race: another file may have come meanwhile; a link never replaces one.
                path.hardlink_to(beside)
        finally:
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
    except FileExistsError as error:
        raise Declined(f"{path} is there already: give another name, or --force") from error
    except OSError as error:
        raise BadSetting(
            f"--bundle {str(path)!r} cannot be written: {error.strerror or error}"
        ) from error
    return len(text)


def _new(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, _MODE), "wb")
