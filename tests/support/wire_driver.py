"""Plays the supervisor to one real runner or child: starts it, speaks `worker.wire`, listens."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from penstock.broker.protocol import Broker
from penstock.broker.requests import OpenLease, Owner
from penstock.core.ids import LeaseId
from penstock.executors.procfs import read_stat
from penstock.worker import wire
from tests.support.eventually import DeadlinePassed
from tests.support.worker_process import worker_environment

M = TypeVar("M", bound=msgspec.Struct)
ROOT = Path(__file__).resolve().parents[2]
#: Seconds for anything to happen that should; long, since other tests share the machine.
SOON_S = 30.0
_PIECE_BYTES = 65_536


class WireDriver:
    """Use as a context: at its end the process is gone.

    Attributes:
        heard: everything that the process has said, but its beats.
        beats: its beats.
        log_path: what it wrote to its standard error.
    """

    def __init__(
        self, module: str, app: str, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """Start `python -m module app`; it has not said anything yet."""
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._stack_fd = os.memfd_create("stacks")
        self._frames = wire.FrameReader()
        kinds = wire.FromRunner | wire.FromChild
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kinds)
        self.heard: list[msgspec.Struct] = []
        self.beats: list[wire.Beat] = []
        self.is_closed = False
        self.log_path = folder / "process.log"
        fds = {wire.CHANNEL_FD_ENV: theirs.fileno(), wire.STACK_FD_ENV: self._stack_fd}
        named = {name: str(fd) for name, fd in fds.items()}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, app],
                cwd=ROOT,
                env=worker_environment({"log_level": "debug"}, {**(env or {}), **named}),
                pass_fds=tuple(fds.values()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        theirs.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Kill what is left."""
        self.process.kill()
        self.process.wait()
        self._socket.close()
        os.close(self._stack_fd)

    def say(self, message: msgspec.Struct) -> None:
        """Send one message."""
        self._socket.sendall(wire.frame(message))

    def hang_up(self) -> None:
        """Close the channel, as a dying supervisor does."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def wait_for(self, kind: type[M], is_so: Callable[[M], object] = lambda _message: True) -> M:
        """Return the first message of this kind for which `is_so` holds, heard before or to come.

        Raises:
            DeadlinePassed: it does not come.
        """
        deadline = time.monotonic() + SOON_S
        while True:
            found = (one for one in self.heard if isinstance(one, kind) and is_so(one))
            if (first := next(found, None)) is not None:
                return first
            if self.is_closed or not self._listen(deadline - time.monotonic()):
                raise DeadlinePassed(f"no {kind.__name__} came\n{self.report()}")

    def wait_beat(self, is_so: Callable[[wire.Beat], object]) -> wire.Beat:
        """Return the first beat to come for which `is_so` holds.

        Raises:
            DeadlinePassed: none comes.
        """
        deadline = time.monotonic() + SOON_S
        seen = len(self.beats)
        while True:
            if (first := next((one for one in self.beats[seen:] if is_so(one)), None)) is not None:
                return first
            if self.is_closed or not self._listen(deadline - time.monotonic()):
                raise DeadlinePassed(f"no such beat came\n{self.report()}")

    def wait_exit(self) -> int:
        """Return the exit status once the process has ended, and all that it said is heard.

        Raises:
            DeadlinePassed: it does not end.
        """
        deadline = time.monotonic() + SOON_S
        while not self.is_closed and self._listen(deadline - time.monotonic()):
            pass
        try:
            return self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise DeadlinePassed(f"it does not end\n{self.report()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Signal the process."""
        self.process.send_signal(number)

    def stacks(self) -> str:
        """Return what it wrote as stacks so far."""
        return os.pread(self._stack_fd, 1_000_000, 0).decode()

    def log(self) -> str:
        """Return what it logged so far."""
        return self.log_path.read_text(errors="replace")

    def report(self) -> str:
        """Return what is known, for failures."""
        return f"exit {self.process.poll()}\n{self.heard}\n{self.beats[-2:]}\n{self.log()[-6000:]}"

    def _listen(self, wait_s: float) -> bool:
        """Take in what comes within `wait_s`; return False if nothing did."""
        if not select.select([self._socket], [], [], max(0.0, wait_s))[0]:
            return False
        try:
            received = self._socket.recv(_PIECE_BYTES)
        except ConnectionResetError:
            received = b""
        self.is_closed = not received
        for body in self._frames.feed(received):
            message = self._decoder.decode(body)
            (self.beats if isinstance(message, wire.Beat) else self.heard).append(message)
        return True


class RunnerDriver(WireDriver):
    """The supervisor of one runner, with a lease that it opens and nobody extends."""

    def __init__(
        self, app: str, url: str, broker: Broker, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        """Start the runner."""
        super().__init__(
            "penstock.worker.runner", app, folder, {**(env or {}), "PENSTOCK_URL": url}
        )
        self.url = url
        self.broker = broker
        self.lease = LeaseId("")

    def open_lease(self, ttl_ms: int = 600_000) -> LeaseId:
        """Open a lease for the runner and return it."""
        stat = read_stat(self.process.pid)
        owner = Owner(
            worker="driver",
            host="here",
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            pid_namespace=Path("/proc/self/ns/pid").stat().st_ino,
            pid=self.process.pid,
            started_ticks=0 if stat is None else stat.started_ticks,
        )
        lease = LeaseId(secrets.token_hex(16))
        opened = OpenLease(id=lease, queues=("default",), owner=owner, ttl_ms=ttl_ms)
        self.broker.open_lease(opened)
        return lease

    def start(self, **changes: Any) -> Self:
        """Let it begin, and return once it is ready."""
        self.wait_for(wire.Hello)
        self.lease = self.open_lease()
        order = wire.Start(
            worker="driver",
            url=self.url,
            lease=self.lease,
            queues=("default",),
            coroutines=10,
            threads=2,
            drain_grace_ms=20_000,
            poll_ms=500,
            result_bytes_max=1_000,
        )
        self.say(msgspec.structs.replace(order, **changes))
        self.wait_for(wire.Ready)
        return self
