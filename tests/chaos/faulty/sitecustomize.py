"""Put on the PYTHONPATH of a worker by F04: supervisor and runner get a broker whose calls fail.

Python imports a module of this name when it starts. CHAOS_FAULTS says which calls fail, as
"ROLE:FAULT:FIRST:EVERY": in "supervisor", "runner" or "all", with a fault of `penstock.testing`
or "mixed", the FIRST-th call of the process and every EVERY-th after it (0: no other). Each one
that fails is a line of the history.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

#: Modules by which a process is known, and its role.
_ROLES = {"penstock.worker": "supervisor", "penstock.worker.runner": "runner"}


def _install(told: str) -> None:
    wanted, fault_name, first, every = told.split(":")
    roles = [role for module, role in _ROLES.items() if module in sys.orig_argv]
    if not roles or wanted not in ("all", *roles):
        return
    import penstock.connect as place

    real = place.connect

    def connect(url: str, **options: Any) -> Any:
        from penstock.testing.faulty import Call, Fault, FaultyBroker
        from tests.support import history as h

        kinds = [Fault.REFUSE, Fault.LOSE_REPLY, Fault.TWICE]
        history = h.History(Path(os.environ[h.HISTORY_ENV]))

        def plan(call: Call) -> Fault:
            past = call.number - int(first)
            hit = past == 0 or (past > 0 and int(every) > 0 and past % int(every) == 0)
            if not hit:
                return Fault.NONE
            fault = kinds[past % 3] if fault_name == "mixed" else Fault(fault_name)
            # No process is hit: what follows from it excuses no lost attempt.
            history.append(h.Fault(kind=f"call_{fault}"))
            return fault

        return FaultyBroker(real(url, **options), plan)

    place.connect = connect


if "CHAOS_FAULTS" in os.environ:
    _install(os.environ["CHAOS_FAULTS"])
