"""An event loop in a thread of its own, and async brokers called through it from sync code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from penstock.broker.protocol import AsyncBroker, Broker

T = TypeVar("T")


class LoopThread:
    """Runs coroutines of other threads in one loop.

    Attributes:
        loop: the loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        """End the loop and its thread, whatever still runs in it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class InLoop:
    """An async broker, all calls of which are made in the loop of a thread."""

    def __init__(self, broker: AsyncBroker, thread: LoopThread) -> None:
        self._broker = broker
        self._loop_thread = thread

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        method = getattr(self._broker, verb)
        return lambda *args, **kwargs: self._loop_thread.call(method(*args, **kwargs))


def in_loop(broker: AsyncBroker, thread: LoopThread) -> Broker:
    """Return an async broker as a blocking one."""
    return cast("Broker", InLoop(broker, thread))


@contextmanager
def loop_thread() -> Iterator[LoopThread]:
    """Have a loop in a thread for as long as the block lasts."""
    thread = LoopThread()
    try:
        yield thread
    finally:
        thread.close()
