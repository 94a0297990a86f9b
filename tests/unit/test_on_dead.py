"""The request for an on_dead job."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.ids import Fence, JobId, LeaseId, queue_tag_of
from penstock.core.job import ALONE, Claimed, JobSpec, Reason, StoredError
from penstock.core.manifest import TaskFacts
from penstock.core.retry import POLICY_DEFAULT
from penstock.core.settlement import Bury
from penstock.on_dead import on_dead_request

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
