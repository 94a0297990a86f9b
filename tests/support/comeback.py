"""How soon workers work again: the starts of jobs, read from a history as it grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.support import history as h
from tests.support.eventually import eventually
from tests.support.site import Site
from tests.support.worker_process import WorkerProcess

#: Seconds to wait for what should take two: a bound for broken runs.
WAIT_S = 60.0


class Tail:
    """Reads each event of a history once, while others append to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._decoder = msgspec.json.Decoder(h.Event)

    def news(self) -> list[h.Event]:
        """Return the events that were written since the last look."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            text = file.read()
        whole = text.rfind(b"\n") + 1
        self._read_bytes += whole
        return [self._decoder.decode(line) for line in text[:whole].splitlines()]


class Comebacks:
    """Watches when each worker of a site starts a job that it did not hold before.

    What was accepted before an instant may have been claimed before it, so only later jobs count.
    Workers must have no backlog: it would be waited for as well.

    Args:
        site: whose history is read.
        workers: each must start jobs again.
    """

    def __init__(self, site: Site, workers: Sequence[WorkerProcess]) -> None:
        self._site = site
        self._workers = {worker.name: worker for worker in workers}
        self._tail = Tail(site.history.path)
        self._owner_of: dict[int, str] = {}
        self._old: set[str] = set()

    def since(self, at_ns: int, what: str) -> list[float]:
        """Wait for each worker to start a job accepted after `at_ns`; return the seconds."""
        first: dict[str, float] = {}

        def look() -> bool:
            news = self._tail.news()
            accepted = h.of_type(h.Accepted, news)
            self._old |= {one.job for one in accepted if one.at_ns <= at_ns}
            for start in h.of_type(h.Started, news):
                is_new = start.at_ns > at_ns and start.job not in self._old
                if is_new and (name := self._worker_of(start.pid)) is not None:
                    first.setdefault(name, (start.at_ns - at_ns) / 1e9)
            return len(first) == len(self._workers)

        eventually(
            look,
            within_s=WAIT_S,
            what=f"each worker to start a job {what}",
            state=lambda: f"{first}\n{self._site.report()}",
        )
        return list(first.values())

    def _worker_of(self, pid: int) -> str | None:
        if pid not in self._owner_of:
            for name, worker in self._workers.items():
                self._owner_of.update(dict.fromkeys(worker.tree(), name))
        return self._owner_of.get(pid)
