"""The lifecycle event that each kind of settlement makes."""

from __future__ import annotations

from typing import Final

from penstock.core.lifecycle import Event
from penstock.core.settlement import Bury, Cancel, Complete, Release, Retry, Snooze

EVENT_OF: Final[dict[type, Event]] = {
    Complete: Event.COMPLETE,
    Retry: Event.RETRY,
    Bury: Event.BURY,
    Snooze: Event.SNOOZE,
    Release: Event.RELEASE,
    Cancel: Event.CANCEL,
}
