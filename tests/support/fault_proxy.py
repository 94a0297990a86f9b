"""A network that fails on command: a TCP proxy on the loopback between clients and a server.

The faults are those of Toxiproxy (`toxics`), which Debian 12 does not carry. A fault holds for all
connections, those that live and new ones, until another one is set.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NothingCame
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

#: Bytes carried at once.
_CHUNK: Final = 65_536
#: Seconds after which a connection that nothing moves looks whether it is over.
_LOOK_S: Final = 0.1
#: Seconds between two slices, so that they arrive one by one.
_BETWEEN_SLICES_S: Final = 0.0002
#: Seconds to wait for something to come before no connection is reset.
_TRAFFIC_S: Final = 1.0
#: Connections that wait to be accepted.
_BACKLOG: Final = 256
#: SO_LINGER that makes a close a reset.
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Weather:
    """What the network does just now; one fault at a time.

    Attributes:
        delay_ms: what is sent arrives so much later.
        delay_bytes_min: only what is sent in at least so many bytes.
        swallows_calls: nothing that clients send arrives.
        swallows_replies: nothing that the server sends arrives: its answers are lost.
        reset_after_bytes: a connection is reset once so many bytes of replies came through it.
        slice_bytes: what is sent arrives in parts of this size.
        hangs: connections are accepted, and there is nobody behind; the server sees none of them.
        refuses: connections are refused, and living ones reset.
        close_delay_ms: that one side has closed its end is told the other one so much later.
    """

    delay_ms: int = 0
    delay_bytes_min: int = 0
    swallows_calls: bool = False
    swallows_replies: bool = False
    reset_after_bytes: int | None = None
    slice_bytes: int | None = None
    hangs: bool = False
    refuses: bool = False
    close_delay_ms: int = 0


class FaultProxy:
    """Use as a context; everything passes until a fault is set.

    Attributes:
        port: on 127.0.0.1, the same for as long as it lives.
        weather: what happens just now.
    """

    def __init__(self, to_port: int) -> None:
        """Stand before the server at this port of the loopback, which need not run."""
        self.weather = Weather()
        self._to_port = to_port
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._resets: queue.SimpleQueue[Future[bool]] = queue.SimpleQueue()
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._accepting = self._start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """End all connections and all threads."""
        self._stop_listening()
        links = self._reset_all()
        for link in links:
            link.join()

    def through(self, url: str) -> str:
        """Return a URL of the server as one that leads through here."""
        assert f":{self._to_port}" in url, url
        return url.replace(f":{self._to_port}", f":{self.port}")

    def mend(self) -> None:
        """Let everything pass."""
        self._turn(Weather())

    def delay(self, ms: int, *, bytes_min: int = 0) -> None:
        """Let everything arrive late, or what is large alone."""
        self._turn(Weather(delay_ms=ms, delay_bytes_min=bytes_min))

    def swallow(self, *, calls: bool = False, replies: bool = False) -> None:
        """Let nothing arrive that clients say, or that the server says; what is taken is gone."""
        self._turn(Weather(swallows_calls=calls, swallows_replies=replies))

    def reset_after(self, reply_bytes: int) -> None:
        """Reset each connection once so many further bytes of replies came through it."""
        self._turn(Weather(reset_after_bytes=reply_bytes))

    def slice(self, size: int) -> None:
        """Let everything arrive in small parts."""
        self._turn(Weather(slice_bytes=size))

    def hang(self) -> None:
        """Accept connections and do nothing with them; carry nothing on those that live."""
        self._turn(Weather(hangs=True))

    def refuse(self) -> None:
        """Refuse connections, and reset those that live."""
        self._turn(Weather(refuses=True))

    def slow_close(self, ms: int) -> None:
        """Tell the other side late that one side has closed."""
        self._turn(Weather(close_delay_ms=ms))

    def cut(self) -> None:
        """Reset all connections that live; new ones are as the weather is."""
        self._reset_all()

    def reset_one(self) -> bool:
        """Reset the next connection over which something comes, which is lost; both ends are told.

        Return False where nothing came for a second.
        """
        done: Future[bool] = Future()
        self._resets.put(done)
        try:
            return done.result(_TRAFFIC_S)
        except NothingCame:
            return not done.cancel() and done.result()

    def _turn(self, weather: Weather) -> None:
        was, self.weather = self.weather, weather
        for link in self._living():
            link.passed = 0
        if weather.refuses and not was.refuses:
            self._stop_listening()
            self._reset_all()
        elif was.refuses and not weather.refuses:
            self._listener = self._listen(self.port)
            self._accepting = self._start()

    def _listen(self, port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        thread.start()
        return thread

    def _stop_listening(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def _living(self) -> list[_Link]:
        with self._lock:
            return list(self._links)

    def _reset_all(self) -> list[_Link]:
        links = self._living()
        for link in links:
            link.reset()
        return links

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                link = _Link(client, lambda: self.weather, self._resets, self._forget)
                with self._lock:
                    self._links.add(link)
                link.begin(self._to_port)

    def _forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection: two sockets, a thread for each direction.

    Attributes:
        passed: bytes of replies that came through since the weather turned.
    """

    def __init__(
        self,
        client: socket.socket,
        weather: Callable[[], Weather],
        resets: queue.SimpleQueue[Future[bool]],
        on_over: Callable[[_Link], None],
    ) -> None:
        self.passed = 0
        self._client = client
        self._server: socket.socket | None = None
        self._weather = weather
        self._resets = resets
        self._on_over = on_over
        self._is_over = False
        self._threads: list[threading.Thread] = []
        self._left = 2
        self._lock = threading.Lock()

    def begin(self, to_port: int) -> None:
        """Carry in threads of their own."""
        self._client.settimeout(_LOOK_S)
        self._threads = [threading.Thread(target=self._run, args=(to_port,), daemon=True)]
        self._threads[0].start()

    def reset(self) -> None:
        """End it by a reset on both sides."""
        self._is_over = True
        for end in (self._client, self._server):
            if end is not None:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    # Wakes who reads, and sends nothing.
                    end.shutdown(socket.SHUT_RD)

    def join(self) -> None:
        """Wait for its threads."""
        for thread in self._threads:
            thread.join()

    def _run(self, to_port: int) -> None:
        while self._weather().hangs and not self._is_over:
            time.sleep(_LOOK_S / 10)
        try:
            server = socket.create_connection(("127.0.0.1", to_port))
        except OSError:
            # There is nobody behind: the client is told so as far as a proxy can.
            self.reset()
            self._client.close()
            self._on_over(self)
            return
        server.settimeout(_LOOK_S)
        for end in (self._client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = server
        back = threading.Thread(
            target=self._carry, args=(server, self._client), kwargs={"is_reply": True}, daemon=True
        )
        self._threads.append(back)
        back.start()
        self._carry(self._client, server, is_reply=False)

    def _carry(self, source: socket.socket, sink: socket.socket, *, is_reply: bool) -> None:
        with suppress(OSError):
            while not self._is_over:
                try:
                    data = source.recv(_CHUNK)
                except TimeoutError:
                    continue
                if not data:
                    break
                self._pass_on(data, sink, is_reply=is_reply)
        if not self._is_over:
            time.sleep(self._weather().close_delay_ms / 1000)
            with suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            source.close()
            sink.close()
            self._on_over(self)

    def _pass_on(self, data: bytes, sink: socket.socket, *, is_reply: bool) -> None:
        with suppress(queue.Empty):
            asked = self._resets.get_nowait()
            if asked.set_running_or_notify_cancel():
                self.reset()
                asked.set_result(True)
                return
        if self._weather().delay_ms and len(data) >= self._weather().delay_bytes_min:
            time.sleep(self._weather().delay_ms / 1000)
        now = self._weather()
        if now.hangs or (now.swallows_replies if is_reply else now.swallows_calls):
            return
        if is_reply and now.reset_after_bytes is not None:
            data = data[: max(0, now.reset_after_bytes - self.passed)]
            self.passed += len(data)
        for at in range(0, len(data), now.slice_bytes or len(data)):
            self._send(data[at : at + (now.slice_bytes or len(data))], sink)
            if now.slice_bytes:
                time.sleep(_BETWEEN_SLICES_S)
        if is_reply and now.reset_after_bytes is not None and self.passed >= now.reset_after_bytes:
            self.reset()

    def _send(self, data: bytes, sink: socket.socket) -> None:
        rest = memoryview(data)
        while rest and not self._is_over:
            with suppress(TimeoutError):
                rest = rest[sink.send(rest) :]
