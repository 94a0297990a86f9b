"""`python -m penstock.worker`: the supervisor's process, which `penstock worker` turns into."""

from __future__ import annotations

import asyncio
import os
import sys

from penstock.errors import BadSetting
from penstock.executors.process import keep_descriptors
from penstock.telemetry import logs

from .plan import PLAN_FD_ENV, read_plan
from .startup import EXIT_REFUSED, EXIT_USAGE, StartFailed
from .supervisor import Supervisor


def main() -> int:
    """Run a worker; return its exit code: 0 drained, 1 failed, 2 usage, 78 refused settings."""
    environ = dict(os.environ)
    descriptor = environ.pop(PLAN_FD_ENV, "")
    if not descriptor.isdecimal():
        sys.stderr.write(f"{PLAN_FD_ENV} is not set: start workers with `penstock worker`\n")
        return EXIT_USAGE
    keep_descriptors()
    try:
        plan = read_plan(int(descriptor))
        settings = plan.settings(environ)
        logs.install(
            level=settings.log_level,
            form=settings.log_format,
            current=lambda: None,
            file=settings.log_file,
        )
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    try:
        return asyncio.run(Supervisor(plan, environ).run())
    except StartFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return failure.code


if __name__ == "__main__":
    sys.exit(main())
