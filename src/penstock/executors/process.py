"""Processes for user code, as their parent sees them: spawned, watched by pidfd, buried last.

Started with `posix_spawn`, in a session of their own, with only the descriptors named. A process
that ended stays a zombie until `bury`, so that its pid and its group cannot become a stranger's
while what it left behind is being killed.
Source: no asyncio subprocesses (design.md §7): their child watcher waits for any exit and would
race with the reaping of adopted orphans.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from .procfs import read_stat
from .signal_names import signal_name

#: Signals that the parent may handle or ignore; the new process starts with their defaults.
_RESET_SIGNALS = (
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGPIPE,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXFSZ,
)


#: Input, output and error, which every program expects to have.
_STANDARD_STREAMS: Final = (0, 1, 2)


class ExitStatus(msgspec.Struct, frozen=True):
    """How a process ended: by itself with `code`, or by signal number `killed_by`."""

    code: int | None = None
    killed_by: int | None = None

    def __str__(self) -> str:
        """Return words for people: "was killed by SIGSEGV", "exited with code 3"."""
        if self.killed_by is None:
            return f"exited with code {self.code}"
        return f"was killed by {signal_name(self.killed_by)}"


class Process:
    """One process that this one started, from its spawn to its burial.

    Attributes:
        pid: its number; stays its own until `bury`.
        started_ticks: its start time in clock ticks since boot.
        exited: done once the process has ended; to be awaited through `wait`.
    """

    def __init__(self, pid: int, on_buried: Callable[[int], None]) -> None:
        """Watch a process that has just been spawned. Needs a running event loop.

        Raises:
            OSError: there is no descriptor left for it.
        """
        self.pid = pid
        self._on_buried = on_buried
        stat = read_stat(pid)
        self.started_ticks = 0 if stat is None else stat.started_ticks
        self._pidfd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[ExitStatus] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._note_exit)

    async def wait(self) -> ExitStatus:
        """Return how the process ended, once it has; `bury` is still to follow.

        Who awaits `exited` itself and is cancelled cancels it for everybody, and nobody ever learns
        that the process has ended.
        """
        await asyncio.wait([self.exited])
        return self.exited.result()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone; nothing happens once it has ended."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Send SIGKILL to the process and to its group; what left the group is not reached."""
        if self._pidfd < 0:
            return
        # Invariant: not buried yet, so the group's number is still its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.send_signal(signal.SIGKILL)

    def bury(self) -> None:
        """Reap the process and forget it; from now on its pid may be a stranger's.

        Must not be called before `exited` is done. A second call does nothing.
        """
        if self._pidfd < 0:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        self._pidfd = -1
        self._on_buried(self.pid)

    def _note_exit(self) -> None:
        # WNOWAIT: the zombie stays, see the module's docstring.
        found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is None:
            return
        self._loop.remove_reader(self._pidfd)
        if found.si_code == os.CLD_EXITED:
            status = ExitStatus(code=found.si_status)
        else:
            status = ExitStatus(killed_by=found.si_status)
        if not self.exited.done():
            self.exited.set_result(status)


class Spawner:
    """Starts processes, and knows those not yet buried, so that a reaper leaves them alone."""

    def __init__(self) -> None:
        """Start with no process."""
        self._pids: set[int] = set()

    def spawn(
        self, module: str, argument: str, *, env: Mapping[str, str], fds: Sequence[int]
    ) -> Process:
        """Run `python -m module argument` with this interpreter, in a session of its own.

        Standard input is empty; output goes where the parent's goes. Of the descriptors that the
        parent has opened only `fds` are inherited, under the same numbers; see `keep_descriptors`.

        Args:
            module: what to run; options of the interpreter come from `env` (PYTHON*).
            argument: the only word after it. Never a secret: everyone can read it.
            env: the whole environment.
            fds: descriptors to hand down; they stay open here too.

        Raises:
            OSError: the system refused (no memory, too many processes or open files); nothing was
                started, or it is gone again.
        """
        argv = [sys.executable, "-m", module, argument]
        # Race: nothing else is spawned meanwhile, spawning is done by the event loop's thread only.
        for fd in fds:
            os.set_inheritable(fd, True)  # noqa: FBT003 - its signature knows no name
        try:
            pid = os.posix_spawn(
                sys.executable,
                argv,
                env,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
                setsid=True,
                setsigmask=(),
                setsigdef=_RESET_SIGNALS,
            )
        finally:
            for fd in fds:
                os.set_inheritable(fd, False)  # noqa: FBT003 - the same
        self._pids.add(pid)
        try:
            return Process(pid, self._pids.discard)
        except BaseException:
            # Nobody would ever see its end, and as a zombie that is known here it would stand at
            # the head of the reaper's line for good.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._pids.discard(pid)
            raise

    def knows(self, pid: int) -> bool:
        """Tell whether `pid` was started here and is not buried yet."""
        return pid in self._pids


def keep_descriptors() -> None:
    """Let no process inherit what this one was started with, its standard streams aside.

    A shell's or an init system's descriptors may be locks or sockets, which would stay open for as
    long as any child lives.
    """
    with os.scandir("/proc/self/fd") as entries:
        found = [int(entry.name) for entry in entries]
    for descriptor in found:
        # The listing's own descriptor is closed by now.
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, descriptor in _STANDARD_STREAMS)
