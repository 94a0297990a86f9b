"""What a call or a task may ask for, as typed keywords.

`CallOptions` are the keywords of `.using(...)`, `TaskOptions` those of `@app.task(...)`: the one
list of each. A value of None asks for the default. They are checked in `asked.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from penstock.broker.requests import Durability
from penstock.core.partition import OnPartition
from penstock.core.retry import Backoff
from penstock.core.units import Duration

if TYPE_CHECKING:
    from penstock.broker.protocol import CallerConnection
    from penstock.job import After, Job
    from penstock.task import Task

Size = int | str
"""Bytes, or text such as "2GiB"."""
Isolation = Literal["process", "thread"]
"""Where a task's jobs may run: alone in a child, or in a thread only."""


class CallOptions(TypedDict, total=False):
    """Keywords of `.using(...)`; each wins over the task's own for this call.

    Attributes:
        queue: name of the queue.
        priority: 0 (last) to 10 (first).
        delay: due this long after it is accepted.
        run_at: due at this instant; a datetime with a time zone.
        expires: the job expires if it still waits this long after enqueue.
        timeout: hard limit of one attempt; 0: none; unsaid: the task's, else the setting's.
        soft_timeout: limit after which SoftTimeLimit is raised in the task; as timeout.
        retries: further attempts after the first.
        key: idempotency key: within its window the same key and arguments give the same job.
        after: jobs that must be final first; `After(job, on_failure="ignore")` for one whose
            failure does not matter.
        tenant: whose work it is.
        memory: reservation of this call, bytes or "2GiB".
        size: a hint of how large the input is, for learned reservations.
        cpus: CPUs that are set aside, 0.1 or more.
        requires: labels that the worker must have.
        resources: how many of each counted resource are set aside.
        gpu: whole GPUs that are set aside.
        gpu_memory: memory of one GPU that is set aside, bytes or "8GiB"; with gpu: what each of
            them must have at least.
        tags: names to find the job by, 16 at most.
        triggered_by: what caused the job (cron, webhook, ...).
        result_ttl: the result is dropped this long after completion.
        durability: what the accepted job must survive.
        connection: of psycopg, on the PostgreSQL database that holds the jobs: the job comes into
            being in its open transaction, and exists if and once that commits. For `enqueue` a
            `Connection`, for `aenqueue` an `AsyncConnection`.
    """

    queue: str | None
    priority: int | None
    delay: Duration | None
    run_at: datetime | None
    expires: Duration | None
    timeout: Duration | None
    soft_timeout: Duration | None
    retries: int | None
    key: str | None
    after: Job[Any] | After | str | Sequence[Job[Any] | After | str] | None
    tenant: str | None
    memory: Size | None
    size: float | None
    cpus: float | None
    requires: AbstractSet[str] | Sequence[str] | None
    resources: Mapping[str, int] | None
    gpu: int | None
    gpu_memory: Size | None
    tags: Sequence[str] | None
    triggered_by: str | None
    result_ttl: Duration | None
    durability: Durability | str | None
    connection: CallerConnection | None


class TaskOptions(TypedDict, total=False):
    """Keywords of `@app.task(...)`.

    Attributes:
        name: registered name; default: the function's module and qualified name.
        aliases: former names, whose stored jobs still run.
        queue, priority, retries, timeout, soft_timeout, expires, result_ttl: as for calls.
        backoff: wait between attempts, `Exponential(...)`.
        isolation: "process": each job runs alone in a child; "thread": never in a child of its own
            accord; None: as the worker finds best.
        exclusive: True: no second attempt of a job starts while the first one still runs, also
            where the worker is cut off from the broker: means isolation="process" and
            on_partition="kill".
        on_partition: what a running job does when its worker cannot extend the lease: "continue",
            the default: it runs on, and its result is refused if another attempt has begun; "kill":
            it is killed, with all it started, before the lease can have run out.
        memory: "auto" or a size: the job runs in a child with that much reserved.
        size: a function of the task's arguments that tells how large their input is, in any one
            unit, for memory="auto"; it is called where the job is enqueued.
        oom_retries: further attempts after those that ran out of memory, each with a reservation
            half as large again, up to the largest worker's budget; default 2.
        cpus, requires, resources, gpu, gpu_memory: as for calls; each of them means that the job
            runs in a child.
        light: True or False: whether it may use the slots kept for light tasks; None: as measured.
        retry_on: only these exceptions are tried again; others bury the job at once.
        discard_on: these exceptions end the job cancelled, with reason `discarded`.
        on_dead: task (or its name) enqueued when a job of this task is buried, with the arguments
            `job_id`, `reason` and `error`.
        key_window: how long an idempotency key is unique; default one day.
    """

    name: str | None
    aliases: Sequence[str]
    queue: str | None
    priority: int | None
    retries: int | None
    backoff: Backoff | None
    timeout: Duration | None
    soft_timeout: Duration | None
    isolation: Isolation | None
    exclusive: bool | None
    on_partition: OnPartition | None
    memory: Size | None
    size: Callable[..., float] | None
    oom_retries: int | None
    cpus: float | None
    requires: AbstractSet[str] | Sequence[str] | None
    resources: Mapping[str, int] | None
    gpu: int | None
    gpu_memory: Size | None
    light: bool | None
    retry_on: type[Exception] | Sequence[type[Exception]]
    discard_on: type[Exception] | Sequence[type[Exception]]
    on_dead: Task[..., Any] | str | None
    result_ttl: Duration | None
    expires: Duration | None
    key_window: Duration | None
