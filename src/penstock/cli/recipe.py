"""What `replay` reads of a bundle, and the job that it makes of it."""

from __future__ import annotations

import os
import secrets as random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from penstock.cli.bundle import FORMAT
from penstock.cli.exits import NotFound
from penstock.cli.sizes import size
from penstock.core.ids import Fence, JobId, LeaseId, check_job_id
from penstock.core.job import SHARED, Claimed, JobSpec
from penstock.core.memory import reservation_within
from penstock.core.runtime import Runtime
from penstock.core.usage import Usage
from penstock.errors import BadSetting

#: Bytes of a bundle: arguments and result of 16 MiB at most, 25 tracebacks, a log.
BUNDLE_BYTES_MAX: Final = 64 * 2**20
#: Bytes of a file with a secret.
_SECRET_BYTES_MAX: Final = 2**20
#: Bytes below which no child can be held: an interpreter with nothing in it takes 30 MiB.
_LIMIT_BYTES_MIN: Final = 48 * 2**20


class _Attempt(msgspec.Struct, frozen=True):
    number: int = 0
    usage: Usage | None = None


class _Options(msgspec.Struct, frozen=True):
    timeout_ms: int | None = None
    soft_timeout_ms: int | None = None
    memory_bytes: int | None = None
    size: float | None = None


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    queue: str
    task: str
    need: str = SHARED
    arguments: msgspec.Raw
    options: _Options = _Options()
    checkpoint: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    attempts: tuple[_Attempt, ...] = ()


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle, as far as it is needed to run its job again."""

    bundle: int
    job: _Job
    secrets: tuple[str, ...] = ()
    worker: Runtime | None = None

    @property
    def limit_bytes(self) -> int | None:
        """The memory that the last attempt might not pass; None: not known, or no limit."""
        told = [one.usage for one in self.job.attempts if one.usage is not None]
        return told[-1].limit_bytes if told else None


class Wanted(NamedTuple):
    """What the call of `replay` asks for. None: as the job had it.

    Attributes:
        limit_bytes: that the job may not pass.
        timeout_ms: hard limit; 0: none.
        secrets: name -> JSON value.
    """

    limit_bytes: int | None
    timeout_ms: int | None
    secrets: Mapping[str, msgspec.Raw]


def read(path: Path) -> Recipe:
    """Read a bundle.

    Raises:
        NotFound: there is no such file.
        BadSetting: it cannot be read, or is no bundle that this release knows.
    """
    text = _bytes_of(path, BUNDLE_BYTES_MAX, "bundle")
    try:
        recipe = msgspec.json.decode(text, type=Recipe)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadSetting(
            f"{path} is no bundle: {error}; make one with penstock dead show ID --bundle FILE"
        ) from error
    if recipe.bundle > FORMAT:
        raise BadSetting(
            f"{path} is of form {recipe.bundle}, and this Penstock reads form {FORMAT}: use the "
            "release that made it, or a newer one"
        )
    check_job_id(recipe.job.id)
    return recipe


def job_of(recipe: Recipe, wanted: Wanted, *, now_ms: int) -> Claimed:
    """Return the job as a worker would claim it, with the limits that are asked for.

    Raises:
        BadSetting: a secret is missing, or nobody asked for it; the limit is below any child.
    """
    told, options = recipe.job, recipe.job.options
    limit = recipe.limit_bytes if wanted.limit_bytes is None else wanted.limit_bytes
    spec = JobSpec(
        task=told.task,
        payload=_payload(recipe, wanted.secrets),
        need=told.need,
        timeout_ms=options.timeout_ms if wanted.timeout_ms is None else wanted.timeout_ms,
        soft_timeout_ms=options.soft_timeout_ms,
        memory_bytes=options.memory_bytes if limit is None else _reservation(limit),
        size=options.size,
    )
    has_checkpoint = isinstance(told.checkpoint, msgspec.Raw) and bytes(told.checkpoint) != b"null"
    return Claimed(
        id=JobId(told.id),
        queue=told.queue,
        spec=spec,
        fence=Fence(random.token_hex(16)),
        lease=LeaseId(random.token_hex(16)),
        claim_number=told.attempts[-1].number if told.attempts else 1,
        claimed_at=now_ms,
        checkpoint=told.checkpoint if has_checkpoint else None,  # type: ignore[arg-type]
    )


def secret_values(given: Sequence[str], environ: Mapping[str, str]) -> dict[str, msgspec.Raw]:
    """Return what `--secret` options say, name -> JSON value.

    Raises:
        BadSetting: one names no file and no variable; no message shows what it holds.
    """
    found: dict[str, msgspec.Raw] = {}
    for at, item in enumerate(given, 1):
        name, equals, place = item.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name.isidentifier():
            # Without the text: it may be the secret itself.
            raise BadSetting(f"--secret number {at} has no name: write --secret NAME=@FILE")
        if place.startswith("@"):
            text = _bytes_of(Path(place[1:]), _SECRET_BYTES_MAX, f"--secret {name}")
        elif place.startswith("env:") and place[4:] in environ:
            text = environ[place[4:]].encode("utf-8", "surrogateescape")
        else:
            raise BadSetting(
                f"--secret {name} names neither a file nor a variable that is set: write "
                f"--secret {name}=@FILE or --secret {name}=env:VARIABLE; others could read the "
                "value itself in the list of processes"
            )
        found[name] = _value(name, text, is_json=is_json)
    return found


def _value(name: str, text: bytes, *, is_json: bool) -> msgspec.Raw:
    try:
        if is_json:
            msgspec.json.decode(text)
            return msgspec.Raw(text.strip())
        return msgspec.Raw(msgspec.json.encode(text.decode().removesuffix("\n")))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        what = "JSON" if is_json else "UTF-8"
        raise BadSetting(f"--secret {name}: what stands there is no {what}") from None


def _payload(recipe: Recipe, given: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    missing = [name for name in recipe.secrets if name not in given]
    if missing:
        ways = " ".join(f"--secret {name}=@FILE" for name in missing)
        raise BadSetting(
            f"the bundle does not hold the secret arguments {', '.join(missing)}: give {ways}"
        )
    unasked = [name for name in given if name not in recipe.secrets]
    if unasked:
        known = ", ".join(recipe.secrets) or "none"
        raise BadSetting(f"--secret {unasked[0]} is no secret argument of this job: it has {known}")
    try:
        told = msgspec.json.decode(recipe.job.arguments, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadSetting(f"the arguments in the bundle are no JSON object: {error}") from error
    return msgspec.Raw(msgspec.json.encode({**told, **given}))


def _reservation(limit_bytes: int) -> int:
    if limit_bytes < _LIMIT_BYTES_MIN:
        raise BadSetting(
            f"a limit of {size(limit_bytes)} is less than a child takes before its job: give "
            f"--memory {_LIMIT_BYTES_MIN // 2**20}MiB at least"
        )
    return reservation_within(limit_bytes)


def _bytes_of(path: Path, most: int, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(most + 1)
            taken = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise NotFound(f"{what}: {path} does not exist: mend the name") from error
    except OSError as error:
        raise BadSetting(f"{what}: {path} cannot be read: {error.strerror or error}") from error
    if len(text) > most:
        raise BadSetting(f"{what}: {path} has {taken} bytes, and {most} are read at most")
    return text
