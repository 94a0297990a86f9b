"""Putting a job's secret arguments in their places for its child, or saying what is in the way."""

from __future__ import annotations

from penstock.core import outcome as o
from penstock.core.job import Claimed
from penstock.core.outcome import Outcome
from penstock.errors import SecretKeyMissing
from penstock.serializers.sealing import Seal
from penstock.worker.error_text import stored_error


def opened(job: Claimed, seal: Seal) -> Claimed | Outcome:
    """Return the job as its child is to see it, or how its attempt ends without a child.

    A child holds no keys, and sees in the open what its own job is given and nothing else.
    """
    try:
        return seal.opened(job)
    except SecretKeyMissing as error:
        return o.KeyMissing(stored_error(error))
    except Exception as error:  # noqa: BLE001 - as in a runner: no job is left without an end
        return o.PayloadUnreadable(stored_error(error))
