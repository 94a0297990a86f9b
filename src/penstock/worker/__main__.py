"""`python -m penstock.worker`: the supervisor's process, which `penstock worker` turns into."""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from penstock.errors import BadSetting
from penstock.executors.process import keep_descriptors
from penstock.telemetry import logs
from penstock.worker.secrecy import hide_from_user
from penstock.worker.supervisor.launch import become_worker, drain_with
from penstock.worker.supervisor.plan import PLAN_FD_ENV, WorkerPlan, read_plan
from penstock.worker.supervisor.startup import (
    EXIT_DRAINED,
    EXIT_REFUSED,
    EXIT_USAGE,
    StartFailed,
)
from penstock.worker.supervisor.supervisor import Supervisor


def main() -> int:
    """Run a worker; return its exit code.

    0 drained, 1 failed, 2 usage, 69 the broker does not answer, 78 refused settings.
    """
    hide_from_user()
    environ = dict(os.environ)
    descriptor = environ.pop(PLAN_FD_ENV, "")
    if not descriptor.isdecimal():
        sys.stderr.write(f"{PLAN_FD_ENV} is not set: start workers with `penstock worker`\n")
        return EXIT_USAGE
    keep_descriptors()
    try:
        plan = read_plan(int(descriptor))
        if plan.parent is not None and not drain_with(plan.parent):
            return EXIT_DRAINED
        settings = plan.settings(environ)
        logs.install(
            level=settings.log_level,
            form=settings.log_format,
            current=lambda: None,
            file=settings.log_file,
        )
    except BadSetting as error:
        sys.stderr.write(f"penstock worker: {error}\n")
        return EXIT_REFUSED
    try:
        supervisor = Supervisor(plan, environ)
        code = asyncio.run(supervisor.run())
    except StartFailed as failure:
        _tell(failure, plan)
        return failure.code
    if supervisor.begins_anew:
        # The same process: whoever watches it, and what it was given, need not know.
        become_worker(plan, environ, sys.argv[1:])
    return code


def _tell(failure: StartFailed, plan: WorkerPlan) -> None:
    """Say why the worker did not begin, in the form in which every command tells its errors."""
    if plan.debug and failure.traceback is not None:
        sys.stderr.write(failure.traceback.rstrip() + "\n")
    if plan.errors_as_json:
        error = {"kind": failure.kind, "message": str(failure), "exit_code": failure.code}
        sys.stderr.write(msgspec.json.encode({"error": error}).decode() + "\n")
    else:
        sys.stderr.write(f"penstock worker: {failure}\n")


if __name__ == "__main__":
    sys.exit(main())
