"""What is done to the simulated world: jobs put in, cancels asked for, faults injected."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.broker import requests as r
from penstock.core.ids import JobId, JobIdSource
from penstock.core.job import JobSpec
from penstock.errors import OutcomeUnknown, Unavailable
from tests.support import history as h
from tests.support.simulation.worker import LEASE_MS, QUEUE, Behaviour, SimWorker
from tests.support.simulation.world import Steps, World

#: Jobs of one run: enough for every kind to occur, few enough for hundreds of runs.
JOBS = 60


class Producer:
    """Puts jobs in, some with keys, some delayed, and cancels a part of them."""

    def __init__(self, world: World) -> None:
        """Start with nothing enqueued."""
        self.world = world
        self.process = world.process()
        self.ids = JobIdSource()
        self.known: list[JobId] = []
        self.is_done = False

    def steps(self) -> Steps[None]:
        """Put `JOBS` jobs in over some seconds, then stop."""
        tags = yield from self.world.call_surely(self.process, "register", [QUEUE])
        for number in range(JOBS):
            yield self.world.random.choice((0, 0, 0, 5, 50, 200))
            yield from self._enqueue(tags[QUEUE], number)
            if self.known and self.world.random.random() < 0.4:
                self.world.spawn(self.process, self._cancel(self.world.random.choice(self.known)))
        yield 500
        self.is_done = True

    def _request(self, tag: int, number: int) -> r.EnqueueRequest:
        random = self.world.random
        run_ms = random.choice((5, 10, 20, 50, 50))
        if number % 10 == 3:
            run_ms = random.randint(500, LEASE_MS)
        if number % 25 == 7:
            run_ms = 3 * LEASE_MS + random.randint(100, 900)
        behaviour = Behaviour(
            run_ms=run_ms,
            fails=random.choice((0,) * 6 + (1, 2)),
            snoozes=int(random.random() < 0.05),
        )
        payload = msgspec.json.encode(behaviour)
        key = f"key-{number // 2}" if number % 10 in (4, 5) else None
        job_id = self.ids.draw(self.world.clock.wall_ms(), tag, random.getrandbits(48))
        return r.EnqueueRequest(
            id=job_id,
            queue=QUEUE,
            spec=JobSpec(
                task="act", payload=msgspec.Raw(payload), priority=random.randint(3, 7), key=key
            ),
            delay_ms=random.choice((None, None, None, 100, 700)),
            key_digest=None if key is None else str(number if number % 20 == 5 else number // 2),
        )

    def _enqueue(self, tag: int, number: int) -> Steps[None]:
        request = self._request(tag, number)
        here: dict[str, Any] = {"job": request.id, "key": request.spec.key}
        for _ in range(self.world.random.choice((1, 3, 3))):
            try:
                (answer,) = yield from self.world.call(self.process, "enqueue", [request])
            except Unavailable:
                self.world.record(h.EnqueueFailed(kind="definite", **here))
                return
            except OutcomeUnknown:
                self.world.record(h.EnqueueFailed(kind="unknown", **here))
                continue
            if isinstance(answer, r.Refused):
                self.world.record(h.EnqueueFailed(kind="definite", **here))
            else:
                accepted = h.Accepted(
                    job=answer.id,
                    key=request.spec.key,
                    digest=request.key_digest,
                    duplicate=answer.duplicate,
                )
                self.world.record(accepted)
                self.known.append(answer.id)
            return

    def _cancel(self, job: JobId) -> Steps[None]:
        yield self.world.random.choice((0, 1, 2, 5, 20, 300, 900))
        try:
            (answer,) = yield from self.world.call(self.process, "cancel", [job])
        except Unavailable:
            return
        except OutcomeUnknown:
            answer = "unknown"
        self.world.record(h.CancelReplied(job=job, answer=str(answer)))


class Nemesis:
    """Kills, stops and cuts off, for a while; what it did is excused, nothing else."""

    def __init__(self, world: World, workers: list[SimWorker], *, until_ms: int) -> None:
        """Harm `workers` until `until_ms`."""
        self.world = world
        self.workers = workers
        self.until_ms = until_ms
        self.process = world.process()

    def steps(self) -> Steps[None]:
        """Draw one fault after the other."""
        kill, stop, cut = self._kill, self._stop_worker, self._cut_broker
        yield 300
        while self.world.clock.now_ms < self.until_ms:
            yield from self.world.random.choice((kill, kill, kill, stop, cut))()
            yield self.world.random.randint(50, 600)

    def _kill(self) -> Steps[None]:
        """Kill a worker or only its runner, half the time in the middle of a call."""
        worker = self.world.random.choice(self.workers)
        if self.world.random.random() < 0.5:
            yield from self._await_call(worker)
        if self.world.random.random() < 0.5:
            self.world.record(h.Fault(kind="sigkill_runner", pids=(worker.runner.pid,)))
            worker.runner.is_dead = True
            return
        self.world.record(h.Fault(kind="sigkill", pids=worker.pids))
        worker.supervisor.is_dead = worker.runner.is_dead = True
        yield self.world.random.choice((0, 50, 2 * LEASE_MS))
        worker.start()

    def _await_call(self, worker: SimWorker) -> Steps[None]:
        for _ in range(50):
            if worker.runner.is_calling:
                return
            yield 1

    def _stop_worker(self) -> Steps[None]:
        worker = self.world.random.choice(self.workers)
        self.world.record(h.Fault(kind="sigstop", pids=worker.pids))
        until_ms = self.world.clock.now_ms + round(2.5 * LEASE_MS)
        worker.supervisor.stopped_until_ms = worker.runner.stopped_until_ms = until_ms
        yield self.world.random.choice((0, 0, 3 * LEASE_MS))

    def _cut_broker(self) -> Steps[None]:
        # No pids: an outage excuses no lost attempt, since live workers can extend first.
        self.world.record(h.Fault(kind="outage"))
        lasts_ms = self.world.random.choice((200, 2 * LEASE_MS, 4 * LEASE_MS))
        self.world.outage_until_ms = self.world.clock.now_ms + lasts_ms
        yield lasts_ms + LEASE_MS
