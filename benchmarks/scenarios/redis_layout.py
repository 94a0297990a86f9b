"""What does each choice in the layout of the Redis keys cost or save?

Scripts of the sketch's own (`redis_layout_lua/`) run on a redis-server of their own: the steps that
the adapter's take on their quick way and nothing else, without adapter and worker around them.
Variants differ from `as built` in what their name says, and take turns within each round: jobs of
about 100 bytes are enqueued (500 a call), a hundred of them are asked for by id, then all are
settled and claimed (100 a call). Printed are bytes of the server's memory for a queued and for a
finished job, and the server's time in the scripts, in us for each job: medians of all calls, so
that a call in which the machine did something else does not count.

Run: python -m benchmarks.scenarios.redis_layout [--rounds 5] [--jobs 50000] [--only TEXT]
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.stores import RedisServer, redis_server

LUA = Path(__file__).with_name("redis_layout_lua")
ROOT = b"layout"
ENQUEUE_JOBS = 500
CYCLE_JOBS = 100
STATUS_CALLS = 100
#: The head that the scripts read and the JSON that a worker decodes: about 100 bytes.
SPEC = b'.0;{"task":"bench.noop","payload":{"argument":{"id":123456,"email":"user@example.com"}}}'
RESULT = b"12345;;0;0;null"
LEASE = b"0123456789abcdef"
LEASE_MS = 3_600_000
TOKEN = b"token"
SWITCHES = frozenset({"lease", "repeats", "tokens", "counters"})


@dataclass(frozen=True)
class Layout:
    """The choices of one variant.

    Attributes:
        ready: kind of the ready sets, as Lua.
        final: kind of the index of final jobs, as Lua.
        ids: kind of the list of all ids, as Lua.
        id_bytes: of an id in the keys of its queue.
        has: what the scripts do beside the bare steps.
        queues: how many are filled in turn and served in one call.
        needs: how many ready sets of each queue are offered.
        filled: how many of them hold jobs.
        groups: how many groups the jobs belong to, in turn; 0: ready sets hold jobs.
    """

    ready: str = "pages(64)"
    final: str = "pages(64)"
    ids: str = "pages(64)"
    id_bytes: int = 14
    has: frozenset[str] = SWITCHES
    queues: int = 1
    needs: int = 1
    filled: int = 1
    groups: int = 0

    def without(self, *switches: str) -> Layout:
        """Return the layout with some of its duties left out."""
        return replace(self, has=self.has - set(switches))

    def in_groups(self, inner: str, groups: int) -> Layout:
        """Return the layout with groups in its ready sets."""
        return replace(self, ready=f"groups({self.ready}, {inner})", groups=groups)

    def paged_by(self, size: int) -> Layout:
        """Return the layout with all of its indexes in pages of this size."""
        pages = f"pages({size})"
        return replace(self, ready=pages, final=pages, ids=pages)

    def script(self, verb: str) -> str:
        """Return the Lua of one verb."""
        has = ", ".join(f"{name} = true" for name in sorted(self.has))
        kinds = f"local READY, FINAL, IDS = {self.ready}, {self.final}, {self.ids}\n"
        parts = [(LUA / f"{name}.lua").read_text() for name in ("words", "indexes", "groups")]
        start = "#!lua flags=allow-oom\n" if verb == "cycle" else "#!lua\n"
        verb_text = (LUA / f"{verb}.lua").read_text()
        return f"{start}{''.join(parts)}local HAS = {{{has}}}\n{kinds}{verb_text}"


BUILT = Layout()
SETS = replace(BUILT, ready="set", final="set")
LAYOUTS = {
    "as built: pages of 64, ids of 14 bytes": BUILT,
    "sorted sets, ids of 16 bytes (the sketch's)": replace(SETS, id_bytes=16),
    "sorted sets, ids of 14 bytes": SETS,
    "ready in pages of 32, final a sorted set": replace(SETS, ready="pages(32)"),
    "ready in pages of 64, final a sorted set": replace(SETS, ready="pages(64)"),
    "ready in pages of 128, final a sorted set": replace(SETS, ready="pages(128)"),
    "all in pages of 32": BUILT.paged_by(32),
    "all in pages of 128": BUILT.paged_by(128),
    "ids of 16 bytes": replace(BUILT, id_bytes=16),
    "list of ids as a sorted set": replace(BUILT, ids="set"),
    "no list of ids": replace(BUILT, ids="none"),
    "state in a hash of its own": replace(BUILT, has=BUILT.has | {"state"}),
    "no lease check": BUILT.without("lease"),
    "no record for repeats": BUILT.without("repeats"),
    "no waiter tokens": BUILT.without("tokens"),
    "no counters": BUILT.without("counters"),
    "none of these four": BUILT.without(*SWITCHES),
    "6 queues in one call": replace(BUILT, queues=6),
    "20 queues in one call": replace(BUILT, queues=20),
    "16 needs offered, one filled": replace(BUILT, needs=16),
    "16 needs offered, all filled": replace(BUILT, needs=16, filled=16),
    "64 needs offered, one filled": replace(BUILT, needs=64),
    "groups with lists, 1 group": BUILT.in_groups("list", 1),
    "groups with lists, 100 groups": BUILT.in_groups("list", 100),
    "groups with pages, 1 group": BUILT.in_groups("pages(64)", 1),
    "groups with pages, 100 groups": BUILT.in_groups("pages(64)", 100),
}


Samples = dict[str, list[float]]
"""Figure -> its samples: one for each round where it is bytes, one for each call where it is us."""


class Store:
    """A server with the scripts of one layout."""

    def __init__(self, layout: Layout, place: RedisServer) -> None:
        """Load the scripts."""
        self.layout = layout
        self.samples: Samples = defaultdict(list)
        self._place = place
        self._client = place.client()
        self._scripts = {
            verb: self._client.script_load(layout.script(verb))
            for verb in ("enqueue", "cycle", "status")
        }
        expires_ms = time.time_ns() // 1_000_000 + LEASE_MS
        names = "".join(f"\n{_queue(number).decode()}" for number in range(layout.queues)) + "\n"
        words = {"expires": expires_ms, "closed": 0, "queues": names, "pid": 1, "worker": "worker"}
        self._client.hset(ROOT + b":lease:" + LEASE, mapping=words)
        self._number = 0

    def call(self, verb: str, jobs: int, words: list[Any]) -> Any:
        """Run one script, and note its time for each job. Any: the script decides its answer."""
        before_us = self._spent_us()
        answer = self._client.evalsha(self._scripts[verb], 1, ROOT, *words)
        self.samples[verb].append((self._spent_us() - before_us) / jobs)
        return answer

    def _spent_us(self) -> float:
        stats = self._client.info("commandstats").get("cmdstat_evalsha", {"usec": 0})
        return float(stats["usec"])

    def bytes_used(self) -> int:
        """Return what the data takes."""
        return self._place.used_memory_bytes()

    def enqueue(self, jobs: int) -> list[bytes]:
        """Put jobs in, in turn into every filled set; return the ids in the first queue."""
        sections: dict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
        for _ in range(jobs):
            number = self._number
            self._number += 1
            queue = _queue(number % self.layout.queues)
            need = _need(number // self.layout.queues % self.layout.filled)
            sections[queue, need] += [self._id(number), SPEC]
        words: list[Any] = [len(sections)]
        for (queue, need), pairs in sections.items():
            words += [queue, need, len(pairs) // 2, *pairs]
        self.call("enqueue", jobs, words)
        return [one for (queue, _), of in sections.items() if queue == _queue(0) for one in of[::2]]

    def _id(self, number: int) -> bytes:
        """Return an id that rises: milliseconds, sequence, chance, and its group at the end."""
        now_ms = time.time_ns() // 1_000_000
        start = now_ms.to_bytes(6, "big") + (number % 65536).to_bytes(2, "big")
        groups = self.layout.groups
        group = (number % groups).to_bytes(2, "big") if groups else b""
        return start + secrets.token_bytes(self.layout.id_bytes - len(start) - len(group)) + group

    def cycles(self) -> Iterator[int]:
        """Settle and claim until nothing is left; yield how many were claimed by each call."""
        offers: list[Any] = [self.layout.queues]
        for queue in range(self.layout.queues):
            needs = [_need(need) for need in range(self.layout.needs)]
            offers += [_queue(queue), len(needs), *needs]
        settlements: list[Any] = [0]
        while True:
            fence = secrets.token_bytes(16)
            words = [LEASE, fence, CYCLE_JOBS, TOKEN, *settlements, *offers]
            claimed = self.call("cycle", CYCLE_JOBS, words)
            yield len(claimed) // 3
            if not claimed:
                return
            settlements = _settlements(claimed, fence)


def _queue(number: int) -> bytes:
    return b"q%d" % number


def _need(number: int) -> bytes:
    return b"need%d" % number


def _settlements(claimed: list[bytes], fence: bytes) -> list[Any]:
    """Return the words that settle what one call claimed."""
    sections: dict[bytes, list[bytes]] = defaultdict(list)
    for queue, job in zip(claimed[::3], claimed[1::3], strict=True):
        sections[queue] += [job, fence, RESULT]
    words: list[Any] = [len(sections)]
    for queue, triples in sections.items():
        # By rising ids, because the index of final jobs wants them so.
        order = sorted(range(0, len(triples), 3), key=lambda place: triples[place])
        words += [queue, len(order)]
        for place in order:
            words += triples[place : place + 3]
    return words


def _check(what: str, found: object, expected: object) -> None:
    """A sketch that does not do its work has no costs.

    Raises:
        RuntimeError: something else was found.
    """
    if found != expected:
        raise RuntimeError(f"{what}: {found}, not {expected}")


def live(layout: Layout, jobs: int, samples: Samples) -> None:
    """Take jobs through their life on a fresh server, and note what it cost.

    Args:
        layout: how.
        jobs: how many; a multiple of ENQUEUE_JOBS.
        samples: where to note it.
    """
    with redis_server() as place:
        store = Store(layout, place)
        # The first jobs bring the scripts and the keys that do not grow.
        store.enqueue(layout.queues * layout.filled)
        sum(store.cycles())
        store.samples.clear()
        empty_bytes = store.bytes_used()
        ids = [one for _ in range(jobs // ENQUEUE_JOBS) for one in store.enqueue(ENQUEUE_JOBS)]
        samples["queued"].append((store.bytes_used() - empty_bytes) / jobs)
        for _ in range(STATUS_CALLS):
            states = store.call("status", CYCLE_JOBS, [_queue(0), *ids[:CYCLE_JOBS]])
            _check("states", set(states), {b"q"})
        _check("jobs claimed", sum(store.cycles()), jobs)
        samples["finished"].append((store.bytes_used() - empty_bytes) / jobs)
    for verb, spent in store.samples.items():
        samples[verb] += spent


def table(rows: dict[str, Samples]) -> str:
    """Return the medians as a table."""
    lines = [
        "| layout | bytes queued | finished | enqueue, us | settle + claim, us | status, us |",
        "|---|---|---|---|---|---|",
    ]
    for name, samples in rows.items():
        digits = {"queued": 0, "finished": 0, "enqueue": 2, "cycle": 2, "status": 2}
        cells = [f"{statistics.median(samples[of]):.{places}f}" for of, places in digits.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--only", default="", help="layouts whose names hold this text")
    options = parser.parse_args()
    chosen = {name: layout for name, layout in LAYOUTS.items() if options.only in name}
    rows: dict[str, Samples] = {name: defaultdict(list) for name in chosen}
    for _ in range(options.rounds):
        for name, layout in chosen.items():
            live(layout, options.jobs, rows[name])
    print(table(rows))


if __name__ == "__main__":
    main()
