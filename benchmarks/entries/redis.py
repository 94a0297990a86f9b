"""Who is measured on Redis: tuned as far as its options go, and as it comes; and the bare cycle.

Who logs each job by default is measured with its log off too.

Counts are answered in constant time: a peer's set or hash of finished jobs, its set of unfinished
ones, or the size of the database that holds nothing but results.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.contestants import NODE, Contestant, Done

if TYPE_CHECKING:
    from benchmarks.stores import RedisServer

#: Where contestants that keep results as keys are told to put them.
RESULTS_DATABASE = 1
#: What a contestant with its defaults, or with its log off, takes part in.
DRAIN = frozenset({"drain"})
#: What a contestant in another mode takes part in.
MODES = frozenset({"modes"})


def result_keys(place: RedisServer, _queues: tuple[str, ...], _put: int) -> int:
    """Return the number of keys in the database of results."""
    return int(place.client(RESULTS_DATABASE).dbsize())


def size(command: str, key: str) -> Done:
    """Return how to count results by the size of one key for each queue."""

    def done(place: RedisServer, queues: tuple[str, ...], _put: int) -> int:
        pipe = place.client().pipeline(transaction=False)
        for queue in queues:
            pipe.execute_command(command, key.format(queue=queue))
        return sum(pipe.execute())

    return done


def left(key: str) -> Done:
    """Return how to count results by the size of the set of what is not finished."""
    unfinished = size("ZCARD", key)

    def done(place: RedisServer, queues: tuple[str, ...], put: int) -> int:
        return put - unfinished(place, queues, put)

    return done


def beside(tuned: Contestant, *worker: str, quiet: bool = False) -> list[Contestant]:
    """Return a contestant, beside it the same as it comes, and with its log off.

    Args:
        tuned: the contestant, which logs what it logs by default.
        worker: command of the default; none: the same, and the script knows.
        quiet: it logs each job by default, so that it is also measured without.
    """
    kept = tuple(one for one in tuned.variables if one[0] in {"BENCH_KIND", "RQ_REDIS_URL"})
    default = replace(
        tuned,
        variant="default",
        worker=worker or tuned.worker,
        measures=DRAIN,
        variables=kept,
        drain_jobs=max(tuned.drain_jobs // 3, 150),
    )
    silent = replace(tuned, variant="quiet", measures=DRAIN)
    return [tuned, default, silent] if quiet else [tuned, default]


def everybody() -> list[Contestant]:
    """Return everybody who is measured on Redis, Penstock first."""
    return [*penstock(), sketch(), *in_python(), *bullmq()]


def penstock() -> list[Contestant]:
    """Return Penstock, whose tuned variant is its default, and its other modes."""
    command = ("penstock", "worker", "penstock_server:app")
    # Final jobs, with their results.
    done = size("HLEN", "penstock:{{{queue}}}:done")
    tuned = Contestant("penstock", "tuned", "penstock_server", command, done, None, 50_000)
    thread = replace(
        tuned, variant="thread", worker=(*command, "--concurrency", "8"), measures=MODES,
        drain_jobs=10_000,
    )  # fmt: skip
    isolated = (*command, "--concurrency", "2")
    return [
        tuned,
        thread,
        replace(thread, variant="isolated", worker=isolated, drain_jobs=2_000),
    ]


def sketch() -> Contestant:
    """Return the bare cycle, which is no peer: the end of the scale that draining is held to."""
    return Contestant(
        "sketch", "tuned", "sketch_redis", ("python", "{peers}/sketch_redis.py"),
        size("HLEN", "sketch:{{{queue}}}:result"), "sketch", 50_000, measures=DRAIN,
    )  # fmt: skip


def in_python() -> list[Contestant]:
    """Return the peers in Python."""
    return [*taskiq(), *asynchronous(), *threaded(), *celery(), *rq()]


def taskiq() -> list[Contestant]:
    """Return taskiq on a list and on a stream."""
    module = ("taskiq", "worker", "taskiq_redis_broker:broker")
    command = (*module, "--workers", "1", "--max-async-tasks", "1000", "--no-parse")
    found = []
    for kind in ("list", "stream"):
        tuned = Contestant(
            f"taskiq {kind}", "tuned", "taskiq_redis_broker", command, result_keys, "taskiq",
            6_000, variables=(("BENCH_KIND", kind),),
        )  # fmt: skip
        # Its two processes are left at one: one worker process is what is compared.
        found += beside(tuned, *module, "--workers", "1", quiet=True)
    return found


def asynchronous() -> list[Contestant]:
    """Return saq, streaQ and arq, whose scripts tune them."""
    saq = Contestant(
        "saq", "tuned", "saq_redis", ("saq", "saq_redis.settings"),
        left("saq:{queue}:incomplete"), "saq", 6_000,
    )  # fmt: skip
    streaq = Contestant(
        "streaq", "tuned", "streaq_redis", ("streaq", "run", "streaq_redis:worker"),
        size("ZCARD", "streaq:{queue}:index:results"), "streaq", 4_000,
    )  # fmt: skip
    arq = Contestant(
        "arq", "tuned", "arq_redis",
        ("arq", "arq_redis.WorkerSettings"),
        left("{queue}"), "arq", 6_000,
    )  # fmt: skip
    return [one for peer in (saq, streaq, arq) for one in beside(peer, quiet=True)]


def threaded() -> list[Contestant]:
    """Return dramatiq and huey, which run plain functions in threads."""
    module = ("dramatiq", "dramatiq_redis", "--path", "{peers}", "--processes", "1")
    dramatiq = Contestant(
        "dramatiq", "tuned", "dramatiq_redis", (*module, "--threads", "8"), result_keys,
        "dramatiq", 6_000, variables=(("dramatiq_queue_prefetch", "200"),),
    )  # fmt: skip
    consumer = ("huey_consumer", "huey_redis.huey")
    huey = Contestant(
        "huey", "tuned", "huey_redis", (*consumer, "-k", "thread", "-w", "1", "-n"),
        size("HLEN", "huey.results.{queue}"), "huey-redis", 6_000,
    )  # fmt: skip
    return [*beside(dramatiq), *beside(huey, *consumer, quiet=True)]


def celery() -> list[Contestant]:
    """Return Celery with threads, as it comes, and in both pools for the modes."""
    module = ("celery", "-A", "celery_redis", "worker", "-Q", "{queues,}")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    threads = Contestant(
        "celery", "tuned", "celery_redis", (*module, *quiet, "-P", "threads", "-c", "8"),
        result_keys, "celery", 2_000,
    )  # fmt: skip
    prefork = (*module, *quiet, "-P", "prefork", "-c", "2")
    return [
        *beside(threads, *module),
        replace(threads, variant="thread", measures=MODES),
        replace(threads, variant="prefork", worker=prefork, measures=MODES),
    ]


def rq() -> list[Contestant]:
    """Return RQ, which forks for each job unless its worker is the simple one."""
    command = ("rq", "worker", "--path", "{peers}")
    simple = (*command, "-w", "rq.worker.SimpleWorker", "{queues}")
    tuned = Contestant(
        "rq", "tuned", "rq_redis", simple, size("ZCARD", "rq:finished:{queue}"), "rq", 800,
        variables=(("RQ_REDIS_URL", "{url}"),),
    )  # fmt: skip
    return beside(tuned, *command, "{queues}", quiet=True)


def bullmq() -> list[Contestant]:
    """Return BullMQ on Node and in Python."""
    completed = size("ZCARD", "bull:{queue}:completed")
    node = Contestant(
        "bullmq node", "tuned", "bullmq_node.cjs", ("node", "{peers}/bullmq_node.cjs", "worker"),
        completed, NODE, 30_000,
    )  # fmt: skip
    python = Contestant(
        "bullmq python", "tuned", "bullmq_redis", ("python", "{peers}/bullmq_redis.py"),
        completed, "bullmq", 6_000,
    )  # fmt: skip
    return [*beside(node), *beside(python)]
