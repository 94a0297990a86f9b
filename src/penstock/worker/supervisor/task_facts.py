"""What the supervisor knows of the app's tasks: what the newest runner told it."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.manifest import AppManifest, TaskFacts
from penstock.core.need import task_digest
from penstock.core.partition import OnPartition
from penstock.core.retry import POLICY_DEFAULT, RetryPolicy


class Tasks:
    """Tasks by name and alias; empty until the first runner has said hello.

    Attributes:
        queue_limits: jobs at a time of the queues that have a limit.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self.queue_limits: Mapping[str, int] = {}
        self._by_name: dict[str, TaskFacts] = {}
        self._by_digest: dict[str, str] = {}

    def learn(self, manifest: AppManifest) -> None:
        """Replace what is known: a reloaded runner may have other tasks."""
        self.queue_limits = manifest.queue_limits
        aliases = {alias: task for task in manifest.tasks for alias in task.aliases}
        self._by_name = {**aliases, **{task.name: task for task in manifest.tasks}}
        self._by_digest = {task_digest(name): task.name for name, task in self._by_name.items()}

    def find(self, name: str) -> TaskFacts | None:
        """Return the task of that name or alias, None where it is not known."""
        return self._by_name.get(name)

    def of_digest(self, digest: str) -> str | None:
        """Return the name of the task that is called so in needs; None: it is not known."""
        return self._by_digest.get(digest)

    @property
    def isolated(self) -> list[str]:
        """The names of tasks whose jobs run in children."""
        return sorted({task.name for task in self._by_name.values() if task.isolated})

    @property
    def plain(self) -> list[str]:
        """The names of tasks whose jobs run in threads."""
        tasks = self._by_name.values()
        return sorted({task.name for task in tasks if not (task.isolated or task.is_async)})

    @property
    def light(self) -> dict[str, bool]:
        """The plain tasks that say themselves whether their jobs are light."""
        return {
            name: task.light
            for name, task in self._by_name.items()
            if task.light is not None and not (task.isolated or task.is_async)
        }

    def on_partition(self, task: str) -> OnPartition:
        """Return what jobs of a task do when their lease cannot be extended."""
        facts = self._by_name.get(task)
        return "continue" if facts is None else facts.on_partition

    def policy(self, task: str) -> RetryPolicy:
        """Return the policy of a task, the default for one that is not known."""
        facts = self._by_name.get(task)
        return POLICY_DEFAULT if facts is None else facts.policy
