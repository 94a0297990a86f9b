"""`python -m penstock.worker.child module:app`, started by a supervisor; see `worker.wire`.

The event loop lives in a second thread: it reads the pipe, keeps the soft limit and runs `async
def` tasks. The main thread runs plain functions, since only there can a signal interrupt them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from functools import partial

from penstock.app import App
from penstock.executors.main_thread import MainThreadExecutor
from penstock.worker import boot, wire
from penstock.worker.app_loading import load_app
from penstock.worker.child.service import Service
from penstock.worker.error_text import stored_error
from penstock.worker.pipe import Pipe

#: What a job writes is for its owner alone.
_UMASK = 0o077


def main() -> int:
    """Run a child until its supervisor lets it end; return the exit status."""
    boot.tie_to_parent()
    boot.forgo_privileges()
    boot.be_killed_first()
    boot.stand_back(int(os.environ.get(wire.CHILD_NICE_ENV, "0")))
    os.umask(_UMASK)
    channel = boot.set_up(os.environ)
    pipe: Pipe[wire.ToChild] = Pipe(
        channel, wire.ToChild, on_end=partial(boot.end_at_once, boot.EXIT_ORPHANED)
    )
    try:
        app = load_app(sys.argv[1])
    except BaseException as error:  # noqa: BLE001 - whatever the import raises, it is told
        pipe.send(wire.Hello(os.getpid(), error=stored_error(error)))
        pipe.flush()
        return boot.EXIT_FAILED
    pipe.send(wire.Hello(os.getpid()))
    main_thread = MainThreadExecutor()
    statuses: list[int] = []
    threading.Thread(
        target=_run_loop, args=(app, pipe, main_thread, statuses), name="penstock-loop", daemon=True
    ).start()
    main_thread.serve(after=pipe.check)
    pipe.flush()
    boot.bound_exit()
    return statuses[0]


def _run_loop(
    app: App, pipe: Pipe[wire.ToChild], main_thread: MainThreadExecutor, statuses: list[int]
) -> None:
    try:
        statuses.append(boot.run_guarded(asyncio.new_event_loop(), _serve(app, pipe, main_thread)))
    except BaseException:  # noqa: BLE001 - a child whose loop is broken can only end
        sys.excepthook(*sys.exc_info())
        boot.end_at_once(boot.EXIT_FAILED)
    main_thread.stop()


async def _serve(app: App, pipe: Pipe[wire.ToChild], main_thread: MainThreadExecutor) -> int:
    return await Service(app, pipe, main_thread).run()


if __name__ == "__main__":
    sys.exit(main())
