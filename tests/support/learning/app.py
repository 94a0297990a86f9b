"""Tasks of the kinds that an application has, whose runs are recorded.

Each takes how large its input is, and a seed for what is in it. The input is made in the job, since
one that was fetched would be there too. What the peak follows from differs: lists of objects, one
block, a table of every pair, a dictionary that grows in steps, a library in C.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any, Final, NamedTuple

from penstock import App
from penstock.task import Call

app = App()
#: Parts of an input that are drawn once and then repeated: what they hold does not matter.
_DRAWN = 200
_WORDS = (
    "water",
    "turbine",
    "valve",
    "pressure",
    "inlet",
    "gate",
    "level",
    "flow",
    "crest",
    "sluice",
)


def size_of(n: int, _seed: int) -> float:
    """Tell how large the input is."""
    return n


@app.task(memory="auto", size=size_of)
def sort_numbers(n: int, seed: int) -> float:
    """Sort so many numbers, into a new list."""
    chance = Random(seed)
    numbers = [chance.random() for _ in range(n)]
    return sorted(numbers)[n // 2]


@app.task(memory="auto", size=size_of)
def parse_json(n: int, seed: int) -> int:
    """Parse a document of so many bytes; its texts are short or long."""
    chance = Random(seed)
    words = chance.randint(3, 8)
    records = [
        json.dumps({"id": one, "text": " ".join(chance.choices(_WORDS, k=words)), "tags": [one, 1]})
        for one in range(_DRAWN)
    ]
    each = sum(map(len, records)) / _DRAWN + 1
    document = f"[{','.join(chance.choices(records, k=1 + int(n / each)))}]"
    return len(json.loads(document))


@app.task(memory="auto", size=size_of)
def compress(n: int, seed: int) -> int:
    """Compress so many bytes, half of which say nothing new."""
    block = Random(seed).randbytes(2**15)
    data = (block + b"." * 2**15) * (n // 2**16) + block[: n % 2**15]
    return len(zlib.compress(data, 1))


@app.task(memory="auto", size=size_of)
def read_table(n: int, seed: int) -> int:
    """Read a table of so many rows into dictionaries."""
    chance = Random(seed)
    lines = [
        f"{chance.randrange(10**6)},{chance.choice(_WORDS)},{chance.random():.6f}\n"
        for _ in range(_DRAWN)
    ]
    text = "number,word,value\n" + "".join(chance.choices(lines, k=n))
    return len(list(csv.DictReader(io.StringIO(text))))


@app.task(memory="auto", size=size_of)
def load_database(n: int, seed: int) -> int:
    """Put so many rows into a database in memory, and index them."""
    chance = Random(seed)
    texts = [" ".join(chance.choices(_WORDS, k=30)) for _ in range(_DRAWN)]
    rows = ((chance.randrange(10**6), texts[i % _DRAWN]) for i in range(n))
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE reading (station INTEGER, note TEXT)")
    database.executemany("INSERT INTO reading VALUES (?, ?)", rows)
    database.execute("CREATE INDEX by_station ON reading (station)")
    (count,) = database.execute("SELECT count(DISTINCT station) FROM reading").fetchone()
    database.close()
    return int(count)


@app.task(memory="auto", size=size_of)
def distances(n: int, seed: int) -> float:
    """Measure every pair of so many points: four times as much for twice as many."""
    chance = Random(seed)
    points = [chance.random() for _ in range(n)]
    table = array("d")
    for one in points:
        table.extend([other - one for other in points])
    return max(table)


@app.task(memory="auto", size=size_of)
def primes(n: int, _seed: int) -> int:
    """Find the primes below n, in one block of a byte each."""
    sieve = bytearray(b"\x01") * n
    for one in range(2, int(n**0.5) + 1):
        if sieve[one]:
            sieve[one * one :: one] = bytes(len(range(one * one, n, one)))
    return sum(sieve)


@app.task(memory="auto", size=size_of)
def count_keys(n: int, seed: int) -> int:
    """Count so many keys, most of which differ: the dictionary doubles now and then."""
    chance = Random(seed)
    return len(Counter(int(chance.random() * n) for _ in range(n)))


@app.task(memory="auto", size=size_of)
def export(n: int, seed: int) -> int:
    """Export so many rows; one in ten asks for their history, of which the size says nothing."""
    with_history = seed % 10 == 0
    rows = [{"id": one, "value": float(one)} for one in range(n)]
    versions = [dict(one) for one in rows for _ in range(4)] if with_history else []
    return len(rows) + len(versions)


@app.task(memory="auto")
def report(seed: int) -> int:
    """Add up what is new, or one time in ten everything; nothing tells which beforehand."""
    chance = Random(seed)
    rows = chance.randint(900_000, 1_100_000) if seed % 10 == 0 else chance.randint(60_000, 90_000)
    return len(sorted([chance.random() for _ in range(rows)]))


class Sizes(NamedTuple):
    """Of which sizes a task's inputs are: log-normal, up to the largest."""

    median: float
    sigma: float
    most: int


#: Of the tasks with a hint.
SIZES: Final[dict[str, Sizes]] = {
    "sort_numbers": Sizes(250_000, 1.0, 5_000_000),
    "parse_json": Sizes(5e6, 0.9, 40_000_000),
    "compress": Sizes(8e6, 1.0, 100_000_000),
    "read_table": Sizes(60_000, 0.9, 500_000),
    "load_database": Sizes(60_000, 0.9, 600_000),
    "distances": Sizes(1_300, 0.6, 5_000),
    "primes": Sizes(15e6, 0.8, 120_000_000),
    "count_keys": Sizes(250_000, 0.9, 2_500_000),
    "export": Sizes(50_000, 0.8, 300_000),
}
#: Tasks whose runs come in two kinds that no size tells apart.
BIMODAL: Final = frozenset({"export", "report"})


def calls(chance: Random, runs: int) -> Iterator[tuple[Call[Any], int | None]]:
    """Yield so many calls of each task, with their sizes; those of one task one after the other."""
    tasks = (sort_numbers, parse_json, compress, read_table, load_database)
    for task in (*tasks, distances, primes, count_keys, export):
        sizes = SIZES[task.name.rpartition(".")[2]]
        for _ in range(runs):
            drawn = chance.lognormvariate(math.log(sizes.median), sizes.sigma)
            size = min(round(drawn), sizes.most)
            yield task.call(size, chance.randrange(10**6)), size
    for _ in range(runs):
        yield report.call(chance.randrange(10**6)), None
