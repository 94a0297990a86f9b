"""Starts contestants' processes, watches them from outside, and ends them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contestants import Contestant
    from benchmarks.stores import Place

#: Seconds that any step may take before the run is given up, not just slow.
STEP_LIMIT_S = 240
#: Seconds between looks at stored results; at most 1 % of the shortest drain on SQLite.
LOOK_S = 0.02
#: Seconds that a worker has to end by itself; nothing is measured by then.
END_LIMIT_S = 5


def act(contestant: Contestant, place: Place, action: str, **options: Any) -> dict[str, Any]:
    """Run one action of the contestant's script in a process of its own and return its answer.

    Raises:
        RuntimeError: the script failed or took longer than STEP_LIMIT_S.
    """
    command = contestant.script_command(action)
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    try:
        done = subprocess.run(
            command,
            env=contestant.environment(place),
            cwd=place.folder,
            capture_output=True,
            text=True,
            timeout=STEP_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        message = f"{contestant.name} {action} took longer than {STEP_LIMIT_S} s"
        raise RuntimeError(message) from late
    if done.returncode != 0:
        message = f"{contestant.name} {action} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextlib.contextmanager
def worker(contestant: Contestant, place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Start the contestant's worker, and end it and all it started."""
    with (place.folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            contestant.worker_command(),
            env=contestant.environment(place),
            cwd=place.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_LIMIT_S)
            # Its session is its own: whatever it left behind is in this group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(
    what: str,
    probe: Callable[[], Any],
    place: Place,
    process: subprocess.Popen[bytes],
    look_s: float = LOOK_S,
) -> Any:
    """Call `probe` until it returns something true, and return that.

    Raises:
        RuntimeError: the worker ended, or the step took longer than STEP_LIMIT_S.
    """
    limit = time.monotonic() + STEP_LIMIT_S
    while not (found := probe()):
        if process.poll() is not None or time.monotonic() > limit:
            log = (place.folder / "worker.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{what}: did not happen; the worker's last words:\n{log}")
        time.sleep(look_s)
    return found
