"""A web server in a process of its own: given its sockets, asked over HTTP, ended."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import processes
from tests.support.worker_process import LOG_BYTES_PRINTED, ROOT

#: Seconds for one answer, and for the end; a bound for broken runs, never a measure of speed.
ANSWER_S = 45.0
#: Requests that may be on their way at once.
AT_ONCE_MAX = 50


class WebServer:
    """Use as a context: at its end the server is asked to end, and must do so without a traceback.

    Its sockets listen before it starts, on ports that the system chose: whoever asks early waits.

    Attributes:
        pid: of the process that was started.
        ports: one for each socket.
    """

    def __init__(
        self, module: str, *args: str, env: Mapping[str, str], folder: Path, sockets: int = 1
    ) -> None:
        """Start `python -m module args`; "{0}" in `args` stands for its first socket's number."""
        self.log_path = folder / "web.log"
        listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(sockets)]
        numbers = [one.fileno() for one in listening]
        self.ports = [one.getsockname()[1] for one in listening]
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", module, *(word.format(*numbers) for word in args)],
                cwd=ROOT,
                env=env,
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        # Only the server holds them now: when it dies, requests fail instead of waiting.
        for one in listening:
            one.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Ask it to end; kill it where it does not, or where the test has failed already."""
        try:
            if kind is None:
                self._popen.terminate()
                # uvicorn ends its work, then dies of the signal that it was sent.
                assert self._popen.wait(ANSWER_S) in (0, -signal.SIGTERM), self.log()
                assert b"Traceback" not in self.log_path.read_bytes(), self.log()
        finally:
            if self._popen.poll() is None:
                processes.kill_tree(self.pid)
                self._popen.wait(ANSWER_S)

    def log(self) -> str:
        """Return the end of its log."""
        return self.log_path.read_text(errors="replace")[-LOG_BYTES_PRINTED:]

    def post(self, path: str, *, at: int = 0) -> Any:
        """Send one request to its socket number `at` and return the JSON it is answered with."""
        try:
            with closing(HTTPConnection("127.0.0.1", self.ports[at], timeout=ANSWER_S)) as line:
                line.request("POST", path, headers={"Accept": "application/json"})
                answer = line.getresponse()
                body = answer.read()
        except (OSError, HTTPException) as error:
            raise AssertionError(f"POST {path}: {error!r}\n{self.log()}") from error
        assert answer.status == 200, f"POST {path}: {answer.status} {body!r}\n{self.log()}"
        return json.loads(body)

    def post_at_once(self, paths: Iterable[str]) -> list[Any]:
        """Send requests, each from a thread of its own, and return the answers in order.

        They take turns among its sockets.
        """
        with ThreadPoolExecutor(AT_ONCE_MAX) as pool:
            sent = [
                pool.submit(self.post, path, at=number % len(self.ports))
                for number, path in enumerate(paths)
            ]
            return [one.result() for one in sent]
