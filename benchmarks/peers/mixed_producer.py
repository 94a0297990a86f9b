"""`python mixed_producer.py MODULE TRACE`: put the jobs of a trace in, each at its time.

It stands for the process that serves an API. Prints as JSON the most memory that it held, and the
longest that one call took.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Put all in."""
    put = importlib.import_module(sys.argv[1]).put
    trace = json.loads(Path(sys.argv[2]).read_text())
    began_s, longest_s = time.monotonic(), 0.0
    for job in sorted(trace, key=lambda one: one["at_s"]):
        time.sleep(max(0.0, began_s + job["at_s"] - time.monotonic()))
        at_ns = time.monotonic_ns()
        put(job["kind"], job["number"], at_ns, job["mib"], job["cpu_s"])
        longest_s = max(longest_s, (time.monotonic_ns() - at_ns) / 1e9)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_mib": peak_kib / 1024, "longest_call_ms": longest_s * 1000}))


main()
