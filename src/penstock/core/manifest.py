"""What a supervisor must know of an app, as data: it never imports user code."""

from __future__ import annotations

import msgspec

from penstock.core.job import PRIORITY_DEFAULT, SHARED
from penstock.core.partition import OnPartition
from penstock.core.retry import RetryPolicy


class TaskFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One registered task.

    Attributes:
        name: registered name.
        aliases: further names under which its jobs may be stored.
        queue: where its jobs go unless the call says otherwise.
        policy: retries, crashes and backoff.
        timeout_ms: hard limit of one attempt; 0: none; None: as the settings say.
        soft_timeout_ms: soft limit of one attempt; as timeout_ms.
        is_async: an `async def` function.
        isolated: its jobs need a child of their own.
        memory_bytes: reservation of its jobs unless the call says otherwise; None: none declared.
        memory_auto: the reservation of its jobs is learned.
        on_partition: what its jobs do when their lease cannot be extended.
        priority: of its jobs unless the call says otherwise.
        need: the ready set that its jobs enter unless the call says otherwise.
        light: whether it may use the light lane, whatever was measured; None: as measured.
        on_dead: name of the task to enqueue when a job of this one is buried (`tasks/on_dead.py`).
    """

    name: str
    aliases: tuple[str, ...] = ()
    queue: str
    policy: RetryPolicy
    timeout_ms: int | None = None
    soft_timeout_ms: int | None = None
    is_async: bool = False
    isolated: bool = False
    memory_bytes: int | None = None
    memory_auto: bool = False
    on_partition: OnPartition = "continue"
    priority: int = PRIORITY_DEFAULT
    need: str = SHARED
    light: bool | None = None
    on_dead: str | None = None


class AppManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The app as the first runner reports it.

    Attributes:
        url: broker URL as the app resolves it (may hold a password: never log it).
        tasks: all registered tasks.
        queues: all queues that the app's tasks name, and the default queue.
        settings: settings that the app object itself sets, name -> value as text.
        queue_limits: jobs at a time of the queues for which the settings file says so.
    """

    url: str
    tasks: tuple[TaskFacts, ...]
    queues: tuple[str, ...]
    settings: dict[str, str] = {}
    queue_limits: dict[str, int] = {}
