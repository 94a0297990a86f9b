"""The request for an on_dead job."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.ids import Fence, JobId, LeaseId, queue_tag_of
from penstock.core.job import ALONE, Claimed, JobSpec, Reason, StoredError
from penstock.core.manifest import TaskFacts
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Bury, Complete
from penstock.tasks.on_dead import on_dead_request, on_dead_target

DEAD = Claimed(
    id=JobId("0123456789ab" + "0" * 20),
    queue="home",
    spec=JobSpec(task="t", payload=msgspec.Raw(b"{}")),
    fence=Fence("f" * 32),
    lease=LeaseId("e" * 32),
    claim_number=4,
    claimed_at=1,
)
TARGET = TaskFacts(name="notice", queue="mail", policy=POLICY_DEFAULT, priority=8, need=ALONE)
TAGS = {"mail": 7, "home": 1}


def bury(error: StoredError | None) -> Bury:
    """Return the burial of the job."""
    return Bury(id=DEAD.id, fence=DEAD.fence, outcome="failed", reason=Reason.POISON, error=error)


def test_request_goes_where_the_target_says() -> None:
    """Queue, priority and need are the target's; the queue's tag is in the id."""
    request = on_dead_request(DEAD, bury(None), TARGET, TAGS)
    assert (request.queue, request.spec.task, request.spec.priority) == ("mail", "notice", 8)
    assert (request.spec.need, request.spec.triggered_by) == (ALONE, "on_dead")
    assert queue_tag_of(request.id) == 7


def test_same_burial_makes_the_same_job() -> None:
    """Sent again after an unknown answer it is the same id; another claim makes another job."""
    one = on_dead_request(DEAD, bury(None), TARGET, TAGS)
    assert one == on_dead_request(DEAD, bury(None), TARGET, TAGS)
    requeued = msgspec.structs.replace(DEAD, claim_number=5)
    assert one.id != on_dead_request(requeued, bury(None), TARGET, TAGS).id


TASKS = {
    "t": TaskFacts(name="t", queue="home", policy=POLICY_DEFAULT, on_dead="notice"),
    "alone": TaskFacts(name="alone", queue="home", policy=POLICY_DEFAULT),
    "lost": TaskFacts(name="lost", queue="home", policy=POLICY_DEFAULT, on_dead="gone"),
    "notice": TARGET,
}


def with_spec(**facts: str) -> Claimed:
    """Return the dead job with another spec."""
    spec = msgspec.structs.replace(DEAD.spec, **facts)
    return msgspec.structs.replace(DEAD, spec=spec)


def test_only_a_burial_of_a_task_with_on_dead_has_a_target() -> None:
    """No target without a burial, without on_dead, or where a task is not known."""
    assert on_dead_target(DEAD, bury(None), TASKS.get) is TARGET
    complete = Complete(id=DEAD.id, fence=DEAD.fence, outcome="succeeded", result=None)
    assert on_dead_target(DEAD, complete, TASKS.get) is None
    for task in ("alone", "lost", "unknown"):
        assert on_dead_target(with_spec(task=task), bury(None), TASKS.get) is None


def test_jobs_of_on_dead_have_no_target_themselves() -> None:
    """Two tasks that name each other do not bury each other's jobs for ever."""
    request = on_dead_request(DEAD, bury(None), TARGET, TAGS)
    again = msgspec.structs.replace(DEAD, spec=request.spec)
    tasks = TASKS | {"notice": msgspec.structs.replace(TARGET, on_dead="t")}
    assert on_dead_target(again, bury(None), tasks.get) is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, None),
        (StoredError("ValueError", "bad"), "ValueError: bad"),
        (StoredError("ValueError", "bad", traceback="Traceback ..."), "Traceback ..."),
    ],
)
def test_request_tells_what_happened(error: StoredError | None, text: str | None) -> None:
    """The arguments are job_id, reason and the error's text."""
    request = on_dead_request(DEAD, bury(error), TARGET, TAGS)
    told = msgspec.json.decode(request.spec.payload)
    assert told == {"job_id": DEAD.id, "reason": "poison", "error": text}
