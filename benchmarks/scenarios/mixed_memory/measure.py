"""One run of one contestant: its workers in a control group, a producer, and what the marks say."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.contestants import PEERS, Contestant
from benchmarks.entries.mixed import MORE
from benchmarks.scenarios.mixed_memory.group import Group
from benchmarks.scenarios.mixed_memory.trace import Job
from benchmarks.stores import Place, redis_server, sqlite_file

#: Seconds after which what has not ended counts as lost: far more than any contestant needs.
LIMIT_S: Final = 150.0
#: Seconds without any mark after which the rest counts as lost, once the producer has ended.
SILENCE_S: Final = 25.0
#: Seconds for workers to come up; the first job shows that they have.
UP_S: Final = 30.0
LOOK_S: Final = 0.05


@dataclass(frozen=True)
class Mark:
    """One body, as it wrote it: instants in seconds of the monotonic clock."""

    kind: str
    number: int
    at_s: float
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Found:
    """What a run came to.

    Attributes:
        marks: of bodies that ended.
        began: of bodies that began, heavy ones only.
        producer: what the producer says of itself.
        lost: jobs that never ended.
    """

    marks: list[Mark]
    began: list[Mark]
    producer: dict[str, Any]
    lost: int


@contextlib.contextmanager
def place_of(one: Contestant) -> Iterator[Place]:
    """Open the store that a contestant works on."""
    with redis_server() if one.lock != "taskito" else sqlite_file() as place:
        yield place


def commands(one: Contestant) -> list[list[str]]:
    """Return the commands of all its workers."""
    more = MORE.get(one.key, ())
    return [one.worker_command(), *(replace(one, worker=each).worker_command() for each in more)]


@contextlib.contextmanager
def workers(one: Contestant, place: Place, group: Group | None) -> Iterator[None]:
    """Run its workers in the group, and end them and all they started."""
    with ExitStack() as stack:
        for number, command in enumerate(commands(one)):
            log = stack.enter_context((place.folder / f"worker-{number}.log").open("wb"))
            enter = "" if group is None else f"echo 0 > {group.procs} && "
            process = subprocess.Popen(
                ["/bin/sh", "-c", f'{enter}exec "$@"', "sh", *command],
                env=one.environment(place), cwd=place.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            stack.callback(_end, process, group)
        yield


def _end(process: subprocess.Popen[bytes], group: Group | None) -> None:
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Whatever left the session is still in the group, and nobody else is.
    for pid in [] if group is None else group.procs.read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def run(one: Contestant, place: Place, jobs: Sequence[Job]) -> Found:
    """Put jobs in by a process of its own, and wait until all have ended or nothing moves."""
    marks = place.folder / "marks"
    marks.unlink(missing_ok=True)
    trace = place.folder / "trace.json"
    trace.write_text(json.dumps([job.as_dict() for job in jobs]))
    command = [str(one.bin / "python"), str(PEERS / "mixed_producer.py"), one.script, str(trace)]
    limit_s = time.monotonic() + LIMIT_S + max(job.at_s for job in jobs)
    with subprocess.Popen(
        command, env=one.environment(place), cwd=place.folder, stdout=subprocess.PIPE, text=True
    ) as producer:
        ended: set[tuple[str, int]] = set()
        size, moved_s = -1, time.monotonic()
        wanted = {(job.kind, job.number) for job in jobs}
        while not wanted <= ended and time.monotonic() < limit_s:
            time.sleep(LOOK_S)
            if marks.exists() and marks.stat().st_size != size:
                size, moved_s = marks.stat().st_size, time.monotonic()
                ended = {(mark.kind, mark.number) for mark in read_marks(marks)}
            is_still = time.monotonic() - moved_s > SILENCE_S
            if is_still and producer.poll() is not None:
                break
        said = producer.communicate(timeout=LIMIT_S)[0]
    if producer.returncode != 0:
        raise RuntimeError(f"the producer ended with {producer.returncode}")
    found = read_marks(marks) if marks.exists() else []
    done = {(mark.kind, mark.number): mark for mark in found if mark.kind != "began"}
    began = [mark for mark in found if mark.kind == "began"]
    return Found(list(done.values()), began, json.loads(said), len(wanted - done.keys()))


def read_marks(file: Path) -> list[Mark]:
    """Return what the bodies wrote; a line that is being written is left out."""
    found = []
    for line in file.read_text().split("\n")[:-1]:
        kind, number, *instants, _ = line.split()
        found.append(Mark(kind, int(number), *(int(one) / 1e9 for one in instants)))
    return found


def wait_up(one: Contestant, place: Place, kind: str) -> None:
    """Wait until one small job has run, so that no start is measured."""
    found = run(one, place, [Job(10**6, kind, 0.0)])
    if found.lost:
        raise RuntimeError(f"its workers did not come up within {UP_S:.0f} s")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share does not pass."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]
