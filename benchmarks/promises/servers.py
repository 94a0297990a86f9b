"""Figures and promises on Redis and on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.report import Bar, Figure

if TYPE_CHECKING:
    from benchmarks.report import Key

FIGURES = {
    "drain_per_s": Figure("drain, results stored", "jobs/s", 0),
    "worker_cpu_us": Figure("worker CPU per job", "us", 0, less_is_better=True),
    "server_cpu_us": Figure("server CPU per job", "us", 0, less_is_better=True),
    "drain_6_per_s": Figure("drain, 6 queues served", "jobs/s", 0),
    "drain_20_per_s": Figure("drain, 20 queues served", "jobs/s", 0),
    "waiting_10k_per_s": Figure("first 10,000 of 10,000 waiting", "jobs/s", 0),
    "waiting_2m_per_s": Figure("first 10,000 of 2,000,000 waiting", "jobs/s", 0),
    "modes_per_s": Figure("drain, plain functions", "jobs/s", 0),
    "enqueue_per_s": Figure("enqueue from plain code, one call each", "jobs/s", 0),
    "aenqueue_per_s": Figure("enqueue from one coroutine, one call each", "jobs/s", 0),
    "gather_per_s": Figure("enqueue from 100 coroutines", "jobs/s", 0),
    "bulk_per_s": Figure("bulk enqueue", "jobs/s", 0),
    "pick_up_p50_ms": Figure("pick-up on an idle queue, p50", "ms", 2, less_is_better=True),
    "pick_up_p99_ms": Figure("pick-up, p99", "ms", 2, less_is_better=True),
    "bytes_20k": Figure("bytes per queued job at 20,000", "B", 0, less_is_better=True),
    "bytes_50k": Figure("at 50,000", "B", 0, less_is_better=True),
    "bytes_200k": Figure("at 200,000", "B", 0, less_is_better=True),
    "bytes_mean": Figure("bytes per queued job, mean", "B", 0, less_is_better=True),
    "pss_mib": Figure("PSS of the worker after 100 jobs", "MiB", 1, less_is_better=True),
    "first_enqueue_s": Figure(
        "fresh process to first accepted enqueue", "s", 3, less_is_better=True
    ),
}
TABLES = {
    "Draining": ("drain_per_s", "worker_cpu_us", "server_cpu_us"),
    "Several queues": ("drain_6_per_s", "drain_20_per_s"),
    "Many waiting": ("waiting_10k_per_s", "waiting_2m_per_s"),
    "In threads and in processes": ("modes_per_s",),
    "Enqueueing": ("enqueue_per_s", "aenqueue_per_s", "gather_per_s", "bulk_per_s"),
    "Latency and start": ("pick_up_p50_ms", "pick_up_p99_ms", "first_enqueue_s", "pss_mib"),
    "Memory of the server": ("bytes_20k", "bytes_50k", "bytes_200k", "bytes_mean"),
}


def sketch(key: Key) -> bool:
    """Return whether it is the bare cycle, which is nobody's job queue."""
    return key[0] == "sketch"


def peer(key: Key) -> bool:
    """Return whether a contestant is another project's."""
    return key[0] != "penstock" and not sketch(key)


def python_peer(key: Key) -> bool:
    """Return whether it is one whose worker is Python."""
    return peer(key) and key[0] != "bullmq node"


def logging_peer(key: Key) -> bool:
    """Return whether it is one in Python that logs what it logs by default."""
    return python_peer(key) and key[1] != "quiet"


def node(key: Key) -> bool:
    """Return whether it is BullMQ on Node."""
    return key[0] == "bullmq node"


def celery_thread(key: Key) -> bool:
    """Return whether it is Celery with threads."""
    return key == ("celery", "thread")


def celery_prefork(key: Key) -> bool:
    """Return whether it is Celery with processes."""
    return key == ("celery", "prefork")


def procrastinate(key: Key) -> bool:
    """Return whether it is procrastinate."""
    return key[0] == "procrastinate"


def pgqueuer(key: Key) -> bool:
    """Return whether it is pgqueuer."""
    return key[0] == "pgqueuer"


THREAD, ISOLATED = ("penstock", "thread"), ("penstock", "isolated")

REDIS_BARS = (
    Bar("drain_per_s", "at least", 10, rivals=logging_peer, whom="the best Python peer"),
    Bar("drain_per_s", "at least", 10, rivals=python_peer, whom="the best, its log off"),
    Bar("drain_per_s", "at least", 3, rivals=node, whom="BullMQ on Node"),
    Bar("drain_per_s", "at least", 0.8, rivals=sketch, whom="the bare cycle", is_aim=True),
    Bar("drain_6_per_s", "at least", 0.7, of="drain_per_s", whom="one queue"),
    Bar("drain_20_per_s", "at least", 0.7, of="drain_per_s", whom="one queue"),
    Bar("worker_cpu_us", "under", 40),
    Bar("server_cpu_us", "under", 15),
    Bar("enqueue_per_s", "at least", 1.0, rivals=peer, whom="the fastest peer"),
    Bar("aenqueue_per_s", "at least", 1.3, rivals=peer, whom="the fastest peer"),
    Bar("bulk_per_s", "at least", 3, rivals=python_peer, whom="the best Python peer"),
    Bar("gather_per_s", "at least", 3, rivals=peer, whom="the best peer"),
    Bar("pick_up_p50_ms", "at most", 1.1, rivals=peer, whom="the best peer"),
    Bar("pick_up_p99_ms", "at most", 1.1, rivals=peer, whom="the best peer"),
    Bar("bytes_mean", "at most", 320),
    Bar("waiting_2m_per_s", "at least", 0.9, of="waiting_10k_per_s", whom="10,000 waiting"),
    Bar("pss_mib", "under", 80),
    Bar("first_enqueue_s", "under", 0.25),
    Bar("modes_per_s", "at least", 5, THREAD, celery_thread, "Celery's threads"),
    Bar("modes_per_s", "at least", 2, ISOLATED, celery_prefork, "Celery prefork"),
)
#: The class in which the peers are, which have no other.
FSYNC = ("penstock", "fsync")
POSTGRES_BARS = (
    Bar("drain_per_s", "at least", 5, FSYNC, procrastinate, "procrastinate"),
    Bar("drain_per_s", "at least", 1, FSYNC, pgqueuer, "pgqueuer"),
)
