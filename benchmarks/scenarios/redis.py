"""How does Penstock on Redis compare with its peers on Redis, in one run?

Each measurement has a redis-server of its own, empty, with the same settings for everybody: append
only file, fsync every second, nothing evicted. One worker process each, a no-op with one small
dict, results stored, default log level or less.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks import harness, measures
from benchmarks.entries import redis
from benchmarks.promises import servers
from benchmarks.scenario import Scenario
from benchmarks.stores import redis_server

if TYPE_CHECKING:
    from benchmarks.contestants import Contestant

#: Calls of one sample of enqueueing one at a time: half a second to two.
ENQUEUE_JOBS = 3_000
GATHER_JOBS = 10_000
BULK_JOBS = {"penstock": 50_000}
BULK_JOBS_OF_PEERS = 10_000
#: Figure -> jobs in the queue when the bytes of one are counted.
QUEUED_JOBS = {"bytes_20k": 20_000, "bytes_50k": 50_000, "bytes_200k": 200_000}
#: Whose API puts many jobs in quickly; of the others only the first size is filled.
QUICK_TO_FILL = frozenset({"penstock", "streaq", "rq", "bullmq node", "bullmq python"})
#: Who serves several queues from one worker process.
SERVE_MANY = frozenset({"penstock", "dramatiq", "celery", "rq", "bullmq node", "bullmq python"})
WAITING_JOBS = {"waiting_10k_per_s": 10_000, "waiting_2m_per_s": 2_000_000}
#: Seconds between looks where a tenth of a second is measured.
CLOSE_LOOK_S = 0.002

#: Action of a script -> figure, jobs; each on an empty server.
ENQUEUEING = {
    "enqueue": ("enqueue_per_s", ENQUEUE_JOBS),
    "aenqueue": ("aenqueue_per_s", ENQUEUE_JOBS),
    "gather": ("gather_per_s", GATHER_JOBS),
    "bulk": ("bulk_per_s", BULK_JOBS_OF_PEERS),
}


def enqueue(one: Contestant) -> dict[str, float]:
    """Jobs per second into an idle server: plain calls, awaited calls, 100 callers, bulk."""
    found = {}
    for action, (figure, jobs) in ENQUEUEING.items():
        with redis_server() as place:
            count = BULK_JOBS.get(one.name, jobs) if action == "bulk" else jobs
            answer = harness.act(one, place, action, count=count)
            if "absent" not in answer:
                found[figure] = measures.rate(answer)
    return found


def drain(one: Contestant) -> dict[str, float]:
    """Jobs per second from the first body's start until all results are stored."""
    with redis_server() as place:
        return measures.drain(one, place, one.drain_jobs)


def queues(one: Contestant) -> dict[str, float]:
    """The same with the jobs spread over 6 and over 20 queues of one worker."""
    if one.name not in SERVE_MANY:
        return {}
    found = {}
    for count in (6, 20):
        with redis_server() as place:
            many = replace(one, queues=count)
            found[f"drain_{count}_per_s"] = measures.drain(many, place, one.drain_jobs)[
                "drain_per_s"
            ]
    return found


def waiting(one: Contestant) -> dict[str, float]:
    """The first 10,000 of 10,000 and of 2,000,000 waiting jobs; Penstock alone."""
    if one.name != "penstock":
        return {}
    found = {}
    for figure, jobs in WAITING_JOBS.items():
        with redis_server() as place:
            upto = min(WAITING_JOBS.values())
            drained = measures.drain(one, place, jobs, upto, CLOSE_LOOK_S)
            found[figure] = drained["drain_per_s"]
    return found


def modes(one: Contestant) -> dict[str, float]:
    """Plain functions in threads, and isolated in processes: Penstock and Celery."""
    if one.variant == "tuned":
        return {}
    return {"modes_per_s": drain(one)["drain_per_s"]}


def pick_up(one: Contestant) -> dict[str, float]:
    """Milliseconds from just before the enqueue call to the body's start; idle queue."""
    with redis_server() as place:
        return measures.pick_up(one, place)


def bytes_per_job(one: Contestant) -> dict[str, float]:
    """Bytes of Redis memory for one queued job, in queues of three sizes, and their mean."""
    found = {}
    for figure, jobs in QUEUED_JOBS.items():
        with redis_server() as place:
            # The first job brings the scripts and keys that do not grow.
            harness.act(one, place, "bulk", count=1)
            before = place.used_memory_bytes()
            harness.act(one, place, "bulk", count=jobs)
            found[figure] = (place.used_memory_bytes() - before) / jobs
        if one.name not in QUICK_TO_FILL:
            return found
    return {**found, "bytes_mean": sum(found.values()) / len(found)}


def start(one: Contestant) -> dict[str, float]:
    """Seconds from the start of a fresh process to its first accepted enqueue."""
    with redis_server() as place:
        return measures.start(one, place)


def memory(one: Contestant) -> dict[str, float]:
    """PSS in MiB of the worker, with all it started, after 100 jobs."""
    with redis_server() as place:
        return measures.memory(one, place)


SCENARIO = Scenario(
    title="Penstock on Redis beside its peers",
    notes=(
        "One worker process each; `tuned` as far as its options go, `default` as it comes, where "
        "the default is more than one process with one. Penstock's `tuned` is its default. "
        "Server: append only file with fsync every second, noeviction. Bulk is the bulk call of a "
        "contestant, where it has none gathered or single calls. `sketch` is no peer, but the bare "
        "cycle of a worker with nothing of a job queue in it. What each tuning is stands in "
        "`benchmarks/README.md`."
    ),
    everybody=redis.everybody,
    measures={
        "enqueue": enqueue,
        "drain": drain,
        "queues": queues,
        "modes": modes,
        "pick_up": pick_up,
        "start": start,
        "memory": memory,
        "bytes": bytes_per_job,
        "waiting": waiting,
    },
    once=frozenset({"bytes"}),
    long=frozenset({"waiting"}),
    figures=servers.FIGURES,
    tables=servers.TABLES,
    bars=servers.REDIS_BARS,
)
