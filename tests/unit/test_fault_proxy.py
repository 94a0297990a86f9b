"""Each fault of the proxy, on real sockets, set while a connection lives and for new ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.support.fault_proxy import FaultProxy

#: Seconds for what should happen.
SOON_S = 20.0
#: Seconds in which nothing may happen.
NOTHING_S = 0.15


class Echo:
    """A server that answers each message with itself in capitals.

    Attributes:
        heard: all that came, over all connections.
        accepted: connections so far.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def _answer(self, one: socket.socket) -> None:
        with one, suppress(OSError):
            while data := one.recv(65_536):
                self.heard += data
                one.sendall(data.upper())


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server behind the proxy."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    """A proxy before it."""
    with FaultProxy(echo.port) as found:
        yield found


def dial(proxy: FaultProxy) -> socket.socket:
    """Return a new connection through the proxy."""
    client = socket.create_connection(("127.0.0.1", proxy.port), SOON_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ask(client: socket.socket, words: bytes = b"hello") -> bytes:
    """Return the answer to these words."""
    client.sendall(words)
    answer = b""
    while len(answer) < len(words):
        part = client.recv(65_536)
        if not part:
            break
        answer += part
    return answer


def is_mute(client: socket.socket) -> bool:
    """Return whether nothing comes for a while, neither words nor an end."""
    client.settimeout(NOTHING_S)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(SOON_S)
    return False


def test_everything_passes(proxy: FaultProxy) -> None:
    """Both ways, and much of it."""
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"
        assert ask(client, b"x" * 300_000) == b"X" * 300_000


def test_a_delay_is_felt_both_ways(proxy: FaultProxy) -> None:
    """An answer needs two delays, on a connection that lives; none once it is mended."""
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"
        proxy.delay(60)
        began = time.monotonic()
        assert ask(client) == b"HELLO"
        assert time.monotonic() - began >= 0.12
        proxy.mend()
        assert ask(client) == b"HELLO"


def test_swallowed_calls_never_arrive(proxy: FaultProxy, echo: Echo) -> None:
    """The server hears nothing, and nothing of it later."""
    with dial(proxy) as client:
        assert ask(client, b"a") == b"A"
        proxy.swallow(calls=True)
        client.sendall(b"b")
        assert is_mute(client)
        proxy.mend()
        assert ask(client, b"c") == b"C"
    assert echo.heard == b"ac"


def test_swallowed_replies_leave_the_call_done(proxy: FaultProxy, echo: Echo) -> None:
    """The server has heard it, its answer is gone for good."""
    with dial(proxy) as client:
        proxy.swallow(replies=True)
        client.sendall(b"b")
        assert is_mute(client)
        assert echo.heard == b"b"
        proxy.mend()
        assert ask(client, b"c") == b"C"


def test_a_black_hole_swallows_both(proxy: FaultProxy, echo: Echo) -> None:
    """New connections are accepted as well, by the server too, and nothing comes of them."""
    proxy.swallow(calls=True, replies=True)
    with dial(proxy) as client:
        client.sendall(b"b")
        assert is_mute(client)
    assert echo.heard == b""


def test_a_reset_comes_after_so_many_bytes(proxy: FaultProxy, echo: Echo) -> None:
    """Counted in replies and for each connection anew, in the middle of an answer."""
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"
        proxy.reset_after(3)
        assert reset(client) == b"WOR"
    with dial(proxy) as client:
        assert reset(client) == b"WOR"
    assert echo.heard.endswith(b"world"), "the call was done all the same"
    proxy.mend()
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"


def reset(client: socket.socket) -> bytes:
    """Ask, and return what came before the connection was reset."""
    client.sendall(b"world")
    answer = b""
    try:
        while part := client.recv(100):
            answer += part
    except ConnectionResetError:
        return answer
    pytest.fail("the connection was closed, not reset")


def test_slices_arrive_one_by_one(proxy: FaultProxy) -> None:
    """All of it, in parts."""
    with dial(proxy) as client:
        proxy.slice(2)
        client.sendall(b"x" * 200)
        parts: list[bytes] = []
        while sum(len(part) for part in parts) < 200:
            parts.append(client.recv(65_536))
        assert b"".join(parts) == b"X" * 200
        assert len(parts) > 10, "they came together"


def test_a_hanging_server_accepts_and_says_nothing(proxy: FaultProxy, echo: Echo) -> None:
    """The server behind never sees the connection, until it is mended."""
    with dial(proxy) as living:
        assert ask(living, b"a") == b"A"
        proxy.hang()
        with dial(proxy) as client:
            client.sendall(b"b")
            assert is_mute(client)
            living.sendall(b"lost")
            assert is_mute(living)
            assert (echo.accepted, echo.heard) == (1, b"a")
            proxy.mend()
            assert client.recv(10) == b"B"


def test_refused_connections_are_refused_and_living_ones_reset(proxy: FaultProxy) -> None:
    """And the same port works again afterwards."""
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        dial(proxy)
    proxy.mend()
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"


def test_a_slow_close_is_told_late(proxy: FaultProxy) -> None:
    """The end of one side reaches the other one after the delay."""
    proxy.slow_close(200)
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"
        began = time.monotonic()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert time.monotonic() - began >= 0.2


def test_a_cut_resets_what_lives(proxy: FaultProxy) -> None:
    """And nothing else."""
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with dial(proxy) as client:
        assert ask(client) == b"HELLO"


def test_the_next_connection_over_which_something_comes_is_reset(proxy: FaultProxy) -> None:
    """It alone, and what came is lost; nothing is reset later where nothing came."""
    with dial(proxy) as busy, dial(proxy) as idle:
        assert ask(busy) == ask(idle) == b"HELLO"
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(proxy.reset_one)
            time.sleep(NOTHING_S)
            assert reset(busy) == b""
            assert told.result()
        assert not proxy.reset_one()
        assert ask(idle) == b"HELLO"


def test_a_server_that_is_not_there_is_told_by_a_reset(echo: Echo) -> None:
    """A proxy has to accept before it can know; then it resets."""
    echo.close()

    def call(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), SOON_S) as client:
            client.recv(1)

    with FaultProxy(echo.port) as proxy, pytest.raises(ConnectionResetError):
        call(proxy.port)


def test_a_url_leads_through_it(proxy: FaultProxy, echo: Echo) -> None:
    """Only the port changes."""
    url = proxy.through(f"redis://user@127.0.0.1:{echo.port}/5")
    assert url == f"redis://user@127.0.0.1:{proxy.port}/5"
