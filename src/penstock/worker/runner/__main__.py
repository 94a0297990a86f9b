"""`python -m penstock.worker.runner module:app`, started by a supervisor; see `worker.wire`."""

from __future__ import annotations

import gc
import logging
import os
import sys
from functools import partial

from penstock.app import App
from penstock.broker.clock import SystemClock
from penstock.broker.threaded import loop_face
from penstock.connect import connect
from penstock.worker import boot, wire
from penstock.worker.app_loading import load_app
from penstock.worker.error_text import stored_error
from penstock.worker.pipe import Pipe
from penstock.worker.runner.beat import Heart
from penstock.worker.runner.inbox import Inbox
from penstock.worker.runner.service import Service
from penstock.worker.secrecy import hide_from_user

_log = logging.getLogger("penstock.runner")


def main() -> int:
    """Run a runner until its supervisor lets it end; return the exit status."""
    hide_from_user()
    boot.tie_to_parent()
    channel = boot.set_up(os.environ)
    pipe: Pipe[wire.ToRunner] = Pipe(
        channel, wire.ToRunner, on_end=partial(boot.end_at_once, boot.EXIT_ORPHANED)
    )
    try:
        app = load_app(sys.argv[1])
        manifest = app.manifest()
    except BaseException as error:  # noqa: BLE001 - whatever the import raises, it is told
        pipe.send(wire.Hello(os.getpid(), error=stored_error(error)))
        pipe.flush()
        return boot.EXIT_FAILED
    pipe.send(wire.Hello(os.getpid(), manifest=manifest))
    loop = boot.new_loop()
    heart = Heart(pipe, loop)
    heart.start()
    return boot.run_guarded(loop, serve(app, pipe, heart))


async def serve(app: App, pipe: Pipe[wire.ToRunner], heart: Heart) -> int:
    """Wait for Start, run hooks and jobs, say Drained; return the exit status."""
    inbox = Inbox(pipe)
    start = await inbox.started
    broker = connect(
        start.url,
        durability=start.durability,
        # A broker knows one cap for results and for what tasks enqueue.
        payload_bytes_max=max(start.result_bytes_max, app.config.settings.payload_bytes_max),
    )
    app.install_enqueuer(broker)
    try:
        await boot.run_hooks(app.start_hooks)
    except BaseException:  # noqa: BLE001 - a hook may raise anything; without it no job may run
        _log.critical("a start hook failed, the runner ends", exc_info=True)
        return boot.EXIT_FAILED
    # What has been made so far stays: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    pipe.send(wire.Ready())
    service = Service(app, start, loop_face(broker), pipe, SystemClock())
    heart.tell_of(service.desk, service.pump)
    inbox.deliver_to(service.take_in)
    is_settled = await service.run()
    is_still = service.is_still
    if is_still:
        await boot.run_stop_hooks(app.stop_hooks)
    if is_settled:
        pipe.send(wire.Drained())
    pipe.flush()
    if not is_still:
        # User code of a job that is no longer ours runs on: it ends here, without its stop hooks.
        boot.end_at_once(0 if is_settled else boot.EXIT_FAILED)
    broker.close()
    boot.bound_exit()
    return 0 if is_settled else boot.EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
