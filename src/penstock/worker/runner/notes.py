"""What running attempts want kept: progress, checkpoints, log lines. Gathered and written together.

One write serves all attempts of the runner. Progress and log lines wait until `_PACE_S` after the
last write; a checkpoint goes at once. The last words of an attempt go out before its settlement,
since its fence is worth nothing afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from penstock.broker.protocol import AsyncBroker
from penstock.broker.requests import BATCH_MAX, LOG_BYTES_MAX, LOG_LINES_MAX, Note
from penstock.errors import OutcomeUnknown, Unavailable
from penstock.worker.error_text import capped
from penstock.worker.pulse import retry_wait_s

if TYPE_CHECKING:
    import msgspec

    from penstock.worker.runner.attempts import RunnerAttempt

_log = logging.getLogger("penstock.runner")

#: Seconds between two writes of progress and log lines: at most 10 a second (design.md §4).
_PACE_S: Final = 0.1
#: Bytes of one log line.
_LINE_BYTES_MAX: Final = 8_192


class _Page:
    """What one attempt wants kept and is not written yet."""

    __slots__ = ("checkpoint", "line_bytes", "lines", "progress", "waiting")

    def __init__(self) -> None:
        self.progress: msgspec.Raw | None = None
        self.checkpoint: msgspec.Raw | None = None
        self.lines: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self.line_bytes = 0
        self.waiting: list[Future[None]] = []

    def add_line(self, line: str) -> None:
        if len(self.lines) == LOG_LINES_MAX:
            self.line_bytes -= len(self.lines[0].encode())
        self.lines.append(line)
        self.line_bytes += len(line.encode())
        while self.line_bytes > LOG_BYTES_MAX:
            self.line_bytes -= len(self.lines.popleft().encode())

    def before(self, later: _Page) -> _Page:
        """Return this page with `later` written over it."""
        self.progress = self.progress if later.progress is None else later.progress
        self.checkpoint = self.checkpoint if later.checkpoint is None else later.checkpoint
        for line in later.lines:
            self.add_line(line)
        self.waiting += later.waiting
        return self


class NoteBook:
    """The notes of all attempts of one runner. Words may come from any thread.

    Args:
        broker: where they are kept.
    """

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._pages: dict[RunnerAttempt, _Page] = {}
        self._writing = asyncio.Lock()
        self._written_at = -_PACE_S
        self._some = asyncio.Event()
        self._urgent = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether everything is written."""
        return not self._pages and not self._writing.locked()

    def progress(self, attempt: RunnerAttempt, value: msgspec.Raw) -> None:
        """Replace the attempt's progress."""
        with self._lock:
            self._page(attempt).progress = value
        self._ring(urgent=False)

    def log(self, attempt: RunnerAttempt, line: str) -> None:
        """Append a line to the job's log."""
        with self._lock:
            self._page(attempt).add_line(capped(line, _LINE_BYTES_MAX))
        self._ring(urgent=False)

    def checkpoint(self, attempt: RunnerAttempt, value: msgspec.Raw) -> Future[None] | None:
        """Replace the job's checkpoint, at once.

        Returns:
            What is done once it is written, or raises LeaseLost. None in the loop's own thread,
            which must not wait.
        """
        waiting: Future[None] | None = None
        with self._lock:
            page = self._page(attempt)
            page.checkpoint = value
            if threading.get_ident() != self._thread:
                waiting = Future()
                page.waiting.append(waiting)
        self._ring(urgent=True)
        return waiting

    async def serve(self) -> None:
        """Write what comes, until cancelled."""
        failures = 0
        while True:
            await self._some.wait()
            pause_s = self._written_at + _PACE_S - self._loop.time()
            if pause_s > 0 and not self._urgent.is_set():
                await self._pause(pause_s)
            self._some.clear()
            self._urgent.clear()
            try:
                await self.write()
                failures = 0
            except (Unavailable, OutcomeUnknown):
                failures += 1
                await asyncio.sleep(retry_wait_s(failures))
                self._some.set()

    async def write(self) -> None:
        """Write everything that waits.

        Raises:
            Unavailable, OutcomeUnknown: what is not written waits on; a log line may be kept twice.
        """
        async with self._writing:
            while taken := self._take():
                try:
                    kept = await self._broker.note([_note(*one) for one in taken])
                except (Unavailable, OutcomeUnknown):
                    self._put_back(taken)
                    raise
                except Exception as error:  # noqa: BLE001 - see below
                    # Whatever is wrong with these notes must not hold back their settlements.
                    _log.exception("notes of %d attempts are refused and dropped", len(taken))
                    for _, page in taken:
                        _finish(page, error)
                else:
                    self._written(taken, kept)

    def _written(self, taken: Sequence[tuple[RunnerAttempt, _Page]], kept: Sequence[bool]) -> None:
        self._written_at = self._loop.time()
        for (attempt, page), is_kept in zip(taken, kept, strict=True):
            if is_kept:
                _finish(page, None)
            else:
                attempt.lose("its notes were refused")
                _finish(page, attempt.lease_lost())

    def _page(self, attempt: RunnerAttempt) -> _Page:
        attempt.has_notes = True
        page = self._pages.get(attempt)
        if page is None:
            page = self._pages[attempt] = _Page()
        return page

    def _take(self) -> list[tuple[RunnerAttempt, _Page]]:
        with self._lock:
            first = list(self._pages)[:BATCH_MAX]
            return [(attempt, self._pages.pop(attempt)) for attempt in first]

    def _put_back(self, taken: Sequence[tuple[RunnerAttempt, _Page]]) -> None:
        with self._lock:
            for attempt, page in taken:
                later = self._pages.get(attempt)
                self._pages[attempt] = page if later is None else page.before(later)

    def _ring(self, *, urgent: bool) -> None:
        if threading.get_ident() == self._thread:
            self._rung(urgent)
        else:
            self._loop.call_soon_threadsafe(self._rung, urgent)

    def _rung(self, urgent: bool) -> None:  # noqa: FBT001 - called by the loop, by position
        self._some.set()
        if urgent:
            self._urgent.set()

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._urgent.wait()
        except TimeoutError:
            return


def _note(attempt: RunnerAttempt, page: _Page) -> Note:
    return Note(
        id=attempt.job.id,
        fence=attempt.job.fence,
        progress=page.progress,
        checkpoint=page.checkpoint,
        log=tuple(page.lines),
    )


def _finish(page: _Page, error: Exception | None) -> None:
    for waiting in page.waiting:
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
