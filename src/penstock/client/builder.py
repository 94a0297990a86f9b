"""Builds requests from calls and handles from answers. Pure: both drivers share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from penstock.broker.requests import Accepted, Durability, EnqueueRequest
from penstock.client import flow
from penstock.core.demand import Demand, laid_over
from penstock.core.footprint import size_bucket
from penstock.core.ids import JobId
from penstock.core.job import JobSpec, Parent
from penstock.core.need import learned_need, profile_of, same_demand
from penstock.core.units import Duration, duration_ms
from penstock.errors import EnqueueRefused, PayloadTooLarge, PenstockError
from penstock.job import Job
from penstock.serializers.json import JsonReader
from penstock.serializers.sealing import sealed_bytes
from penstock.tasks.asked import Asked, check_size

if TYPE_CHECKING:
    from penstock.client.client import Client
    from penstock.serializers.sealing import Sealer
    from penstock.task import Call
    from penstock.tasks.registry import Registration

T = TypeVar("T")
Read = Callable[[msgspec.Raw], Any]
_NO_PAYLOAD = msgspec.Raw(b"{}")
_replace = msgspec.structs.replace


class Plan(msgspec.Struct, frozen=True, eq=False):
    """All of a job but its arguments and its id; made once per `using`, shared by its calls.

    Attributes:
        registration: the task.
        queue: where the job goes.
        spec: the job's spec with an empty payload.
        delay_ms: due this long after it is accepted.
        due_at: due at this instant.
        parents: jobs that must be final first.
        durability: class asked for; None: the broker's.
        read_result: reads a stored result as the return annotation.
    """

    registration: Registration
    queue: str
    spec: JobSpec
    delay_ms: int | None
    due_at: int | None
    parents: tuple[Parent, ...]
    durability: Durability | None
    read_result: Callable[[bytes | msgspec.Raw], Any]

    @classmethod
    def of(cls, task: Registration, asked: Asked) -> Plan:
        """Return the plan of a task's calls with these options."""
        spec = JobSpec(
            task=task.name,
            payload=_NO_PAYLOAD,
            priority=task.priority if asked.priority is None else asked.priority,
            need=task.need(
                memory_bytes=asked.memory_bytes,
                memory_auto=asked.memory_auto,
                size=asked.size,
                demand=_demand(task, asked),
            ),
            expires_ms=task.expires_ms if asked.expires_ms is None else asked.expires_ms,
            retries=asked.retries,
            timeout_ms=asked.timeout_ms,
            soft_timeout_ms=asked.soft_timeout_ms,
            key=asked.key,
            result_ttl_ms=(
                task.result_ttl_ms if asked.result_ttl_ms is None else asked.result_ttl_ms
            ),
            tenant=asked.tenant,
            tags=asked.tags,
            triggered_by=asked.triggered_by,
            memory_bytes=asked.memory_bytes,
            size=asked.size,
        )
        return cls(
            registration=task,
            queue=asked.queue or task.queue,
            spec=spec,
            delay_ms=asked.delay_ms,
            due_at=asked.due_at,
            parents=asked.parents,
            durability=asked.durability,
            read_result=task.signature.result,
        )

    def told_size(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
        """Return what the task tells of the size of a call's input, where that is asked for.

        Raises:
            BadSetting: it told no size.
            Exception: what the task's function raises.
        """
        size_of = self.registration.size_of
        if size_of is None or self.spec.size is not None or profile_of(self.spec.need) is None:
            return None
        return check_size(size_of(*args, **kwargs))


def _demand(task: Registration, asked: Asked) -> Demand:
    return laid_over(
        task.demand,
        cpus_milli=asked.cpus_milli,
        labels=asked.labels,
        resources=asked.resources,
        gpus=asked.gpus,
        gpu_memory_bytes=asked.gpu_memory_bytes,
    )


def build(call: Call[Any], job_id: JobId, sealer: Callable[[], Sealer]) -> EnqueueRequest:
    """Return the request that enqueues `call` under `job_id`.

    Args:
        call: what to run.
        job_id: drawn for it.
        sealer: asked for what seals secret arguments, where there are any.

    Raises:
        SecretKeyMissing: there are, and no key.
    """
    plan, payload, digest = call.plan, call.payload, call.digest
    if call.secrets is not None:
        payload = sealer().seal(payload, call.secrets, job_id, plan.spec.task)
        digest = None if digest is None else sealer().digest(digest)
    spec = _replace(plan.spec, payload=msgspec.Raw(payload))
    if call.size is not None:
        need = same_demand(learned_need(spec.task, size_bucket(call.size)), spec.need)
        spec = _replace(spec, size=call.size, need=need)
    if digest is None and plan.delay_ms is None and plan.due_at is None and not plan.parents:
        return EnqueueRequest(id=job_id, queue=plan.queue, spec=spec)
    return EnqueueRequest(
        id=job_id,
        queue=plan.queue,
        spec=spec,
        delay_ms=plan.delay_ms,
        due_at=plan.due_at,
        parents=plan.parents,
        key_digest=digest,
        key_ttl_ms=plan.registration.key_window_ms,
    )


def check_sizes(calls: Iterable[Call[Any]], bytes_max: int) -> None:
    """Refuse payloads over `bytes_max`, encrypted where they are. Raises PayloadTooLarge."""
    for call in calls:
        size = len(call.payload)
        if call.secrets is not None:
            size = sealed_bytes(call.payload, call.secrets)
        if size > bytes_max:
            raise PayloadTooLarge(
                f"arguments of task {call.plan.spec.task} have {size} bytes, {bytes_max} at most: "
                "store them elsewhere and pass where, or raise payload_bytes_max"
            )


def handle(client: Client, call: Call[T], outcome: Accepted | PenstockError) -> Job[T]:
    """Return the handle of an accepted job, or raise why it was refused."""
    if isinstance(outcome, PenstockError):
        raise outcome
    return Job(
        outcome.id, client, call.plan.read_result, outcome.durability, duplicate=outcome.duplicate
    )


def handles(
    client: Client, calls: Sequence[Call[Any]], outcomes: Sequence[Accepted | PenstockError]
) -> list[Job[Any]]:
    """Return the handles of accepted jobs, in order.

    Raises:
        EnqueueRefused: some jobs were refused, or all for reasons of their own.
        PenstockError: all failed for one and the same reason.
    """
    refused = [(n, one) for n, one in enumerate(outcomes) if isinstance(one, PenstockError)]
    jobs = [
        handle(client, call, outcome)
        for call, outcome in zip(calls, outcomes, strict=True)
        if type(outcome) is Accepted
    ]
    if not refused:
        return jobs
    index, first = refused[0]
    if not jobs and all(error is first for _, error in refused):
        raise first
    raise EnqueueRefused(
        f"{len(refused)} of {len(calls)} jobs were refused, the first at {index}: {first}",
        accepted=jobs,
        refused=refused,
    ) from first


def result_flow(job_id: JobId, read: Read | None, timeout: Duration | None) -> flow.Flow[Any]:
    """Return the steps that wait for a job and read its result; see `Job.result`."""
    timeout_s = None if timeout is None else duration_ms(timeout, name="timeout") / 1000
    what = f"result of job {job_id}"
    return flow.result(
        job_id,
        read=read or (lambda text: JsonReader().read(text, what)),
        timeout_s=timeout_s,
        now_s=time.monotonic,
    )
