"""How children stand back: for themselves, and for the session that each of them leads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
#: Leads a session, gives up its privileges, stands back, and waits until the kernel says so too.
PROGRAM = """
import ctypes, os, time
from pathlib import Path
from penstock.worker import boot
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
    # Its files in /proc would stay root's (PR_SET_DUMPABLE).
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
boot.stand_back(7)
session = Path("/proc/self/autogroup")
while session.exists() and session.read_text().split()[-1] != "7":
    time.sleep(0.02)
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


def test_children_that_start_at_once_all_stand_back() -> None:
    """Of who is not root the kernel takes ten such words a second: each says it until heard."""
    start = [sys.executable, "-c", PROGRAM]
    children = [
        subprocess.Popen(start, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for _ in range(4)
    ]
    assert [child.communicate(timeout=30)[0].strip() for child in children] == ["7"] * 4


def test_who_leads_no_session_speaks_for_itself_alone() -> None:
    """The session of whoever called is not its own to speak for."""
    before = AUTOGROUP.read_text() if AUTOGROUP.exists() else ""
    program = "import os; from penstock.worker import boot; boot.stand_back(7); print(os.nice(0))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "7"
    assert (AUTOGROUP.read_text() if AUTOGROUP.exists() else "") == before
