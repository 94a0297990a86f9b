"""What `replay` prints: what the job says while it runs, and how it ended."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.cli.output import Output
from penstock.cli.sizes import size
from penstock.cli.times import span
from penstock.core.job import Claimed, StoredError
from penstock.core.memory import limit_bytes
from penstock.core.outcome import Succeeded, outcome_name
from penstock.core.usage import Usage
from penstock.worker.installed import runtime_of

if TYPE_CHECKING:
    from penstock.cli.recipe import Recipe
    from penstock.worker.supervisor.replay import Replayed
    from penstock.worker.wire import Noted


class Heard:
    """What the job said.

    Attributes:
        lines: of its log, the last ones.
        progress: the last value; None: it told none.
    """

    def __init__(self, output: Output, lines: deque[str]) -> None:
        """Show what comes on `output`, and keep it in `lines`."""
        self._output = output
        self.lines = lines
        self.progress: msgspec.Raw | None = None

    def hear(self, noted: Noted) -> None:
        """Take in what the job notes."""
        for line in noted.log:
            self.lines.append(line)
            self._output.note(f"log       {line}")
        if isinstance(noted.progress, msgspec.Raw):
            self.progress = noted.progress
            self._output.note(f"progress  {bytes(noted.progress).decode()}")


class ReplayDocument(msgspec.Struct, frozen=True, kw_only=True):
    """How the job of a bundle ended here (`replay`).

    Attributes:
        outcome: "succeeded", "failed", "out_of_memory", "timed_out", "crashed", ...
        verdict: the same in words.
        limit_bytes: what it might not pass; null: nothing was enforced.
        usage: what it took; null: it did not begin.
        enqueued: jobs that it put in; none of them ran.
        differs: in what this machine differs from the worker's, in words.
    """

    id: str
    task: str
    outcome: str
    verdict: str
    error: StoredError | None
    limit_bytes: int | None
    usage: Usage | None
    took_ms: int
    result: msgspec.Raw | None
    progress: msgspec.Raw | None
    log: tuple[str, ...]
    enqueued: int
    differs: tuple[str, ...]

    @classmethod
    def of(
        cls, job: Claimed, found: Replayed, heard: Heard, recipe: Recipe, *, took_ms: int
    ) -> ReplayDocument:
        """Return the document of a replay."""
        usage, outcome = found.usage, found.outcome
        given = None if job.spec.memory_bytes is None else limit_bytes(job.spec.memory_bytes)
        result = outcome.result if isinstance(outcome, Succeeded) else None
        return cls(
            id=job.id,
            task=job.spec.task,
            outcome=outcome_name(outcome),
            verdict=_verdict(outcome, usage),
            error=getattr(outcome, "error", None),
            limit_bytes=given if usage is None else usage.limit_bytes,
            # In what it ran is what this machine is.
            usage=None if usage is None else msgspec.structs.replace(usage, runtime=None),
            took_ms=took_ms,
            result=None if result is None else msgspec.Raw(result),
            progress=heard.progress,
            log=tuple(heard.lines),
            enqueued=found.enqueued,
            differs=tuple(_differences(recipe)),
        )


def fields(shown: ReplayDocument) -> Iterator[tuple[str, str]]:
    """Yield how it ended as (name, text) for people."""
    yield "job", f"{shown.id} of task {shown.task}"
    yield "verdict", shown.verdict
    yield "took", f"{span(shown.took_ms)}, with the start of its child"
    peak = None if shown.usage is None else shown.usage.peak_bytes
    limit = "no limit" if shown.limit_bytes is None else f"a limit of {size(shown.limit_bytes)}"
    yield "memory", f"{'not measured' if peak is None else size(peak)}, under {limit}"
    if shown.error is not None:
        lines = [f"{shown.error.kind}: {shown.error.message}"]
        yield "error", "\n".join([*lines, *(shown.error.traceback or "").splitlines()])
    if shown.result is not None:
        yield "result", bytes(shown.result).decode()
    if shown.enqueued:
        yield "enqueued", f"{shown.enqueued}, none of which ran"
    for text in shown.differs:
        yield "differs", text


def _verdict(outcome: Any, usage: Usage | None) -> str:
    if isinstance(outcome, Succeeded):
        return "completed"
    name = outcome_name(outcome)
    if usage is not None and usage.evidence is not None:
        return f"{name}: {usage.evidence}"
    return name


def _differences(recipe: Recipe) -> Iterator[str]:
    """Yield in what this machine is not the worker's, as far as the bundle tells."""
    then, environ = recipe.worker, os.environ
    if then is None:
        return
    here = runtime_of(environ)
    for what in ("penstock", "python", "platform"):
        if getattr(here, what) != getattr(then, what):
            yield f"{what} {getattr(here, what)} here, {getattr(then, what)} in the worker"
    if here.packages != then.packages:
        yield "the installed packages"
    for name in sorted({*then.environment, *here.environment} - _OF_THE_PLACE):
        mine, theirs = (one.environment.get(name, "not set") for one in (here, then))
        if mine != theirs:
            yield f"variable {name}: {mine} here, {theirs} in the worker"
    missing = [name for name in then.others if name not in environ]
    if missing:
        yield f"variables that the worker had and that are not set here: {', '.join(missing)}"


#: Variables that name places, and so differ between any two machines.
_OF_THE_PLACE = frozenset({"PATH", "PYTHONPATH", "TMPDIR", "VIRTUAL_ENV"})


@contextlib.contextmanager
def output_aside(*, active: bool) -> Iterator[None]:
    """Send what is printed to stderr meanwhile: jobs print where their parent does.

    Without it a job's own words would stand in the JSON document.
    """
    if not active:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
