"""The app of the tests of what jobs leave running: programs, daemons, and helpers of the child."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from penstock import App
from tests.support.trace import trace

app = App()

#: What start hooks have started in this process.
HELPERS: list[subprocess.Popen[bytes]] = []
#: Takes so many MiB, says so, and stays.
HOLDS = """
import sys, time
held = bytearray(b"x" * (int(sys.argv[1]) << 20))
print("held", flush=True)
time.sleep(600)
"""
#: Leaves its parent and its session, and stays; the second parent says its pid.
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    pid = os.fork()
    if pid:
        os.write(1, b"%d\\n" % pid)
        os._exit(0)
    time.sleep(600)
os.wait()
"""


@app.on_runner_start
def start_helper() -> None:
    """Start a program that every job of a child finds, where a test asks for it."""
    if os.environ.get("PENSTOCK_CHILD") and os.environ.get("LEAVING_HELPER"):
        HELPERS.append(subprocess.Popen(["sleep", "600"]))


@app.on_runner_stop
def stop_helper() -> None:
    """Say that stop hooks have run."""
    if os.environ.get("PENSTOCK_CHILD"):
        trace("stopped", os.getpid())


@app.task(isolation="process")
def leaves(how: str, mib: int = 1) -> list[int]:
    """Leave a program or a daemon running; return the pids of the child and of what it left."""
    code = DAEMON if how == "daemon" else HOLDS
    left = subprocess.Popen([sys.executable, "-c", code, str(mib)], stdout=subprocess.PIPE)
    assert left.stdout is not None
    said = left.stdout.readline()
    return [os.getpid(), int(said) if how == "daemon" else left.pid]


@app.task(isolation="process")
def leaves_an_ended_one() -> int:
    """Leave a program that has ended, and that nobody has waited for; return the child's pid."""
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    return os.getpid()


@app.task(memory="32MiB")
def naps(seconds: float) -> list[int]:
    """Sleep; return the pids of the child and of its helpers."""
    time.sleep(seconds)
    return [os.getpid(), *(one.pid for one in HELPERS)]


#: Starts two programs, writes their pids, and waits; all of them say so when they are told to end.
FLOCK = """
trap 'echo told >> "$1.told"; exit 1' TERM
for _ in 1 2; do
    (trap 'echo told >> "$1.told"; kill $!; exit 1' TERM; sleep 600 & wait) &
    echo $! >> "$1"
done
mv "$1" "$1.pids"
wait
"""
flock = app.command("flock", ["sh", "-c", FLOCK, "flock", "{path}"], retries=0)
#: Leaves a program behind, with nothing of its output, and ends.
HAND_OFF = 'sleep 600 > /dev/null 2>&1 & echo $! > "$1.pids"'
hand_off = app.command("hand_off", ["sh", "-c", HAND_OFF, "hand_off", "{path}"], retries=0)
