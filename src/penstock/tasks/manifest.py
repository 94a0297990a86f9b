"""What a supervisor must know of an app, written down in the process that has imported it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.core.manifest import AppManifest
from penstock.tasks.asked import QUEUE_DEFAULT

if TYPE_CHECKING:
    from penstock.config.resolve import Config
    from penstock.tasks.registry import Registry


def manifest_of(config: Config, registry: Registry, given: Mapping[str, Any]) -> AppManifest:
    """Return the manifest of an app.

    Args:
        config: of the app; it has been read, so that the tasks follow what its file says of them.
        registry: of the app.
        given: settings that the app object itself says.
    """
    from penstock.config.settings import as_text

    tasks = tuple(registration.facts() for registration in registry)
    named = [QUEUE_DEFAULT, *(task.queue for task in tasks), *config.tables.queues]
    return AppManifest(
        url=config.settings.url,
        tasks=tasks,
        queues=tuple(dict.fromkeys(named)),
        settings={name: as_text(value) for name, value in given.items() if name != "url"},
        queue_limits={
            name: table.concurrency
            for name, table in config.tables.queues.items()
            if table.concurrency is not None
        },
    )
