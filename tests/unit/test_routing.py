"""Which value holds where settings file, decorator and call say different things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock import App, library_task
from penstock.client.builder import Plan
from penstock.errors import BadSetting
from penstock.tasks.registry import Registration
from penstock.tasks.routing import merged


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app in a folder whose settings file the test writes before it uses the app."""
    monkeypatch.chdir(tmp_path)
    return App("memory://")


def written(text: str) -> None:
    """Write the settings file of the test's folder."""
    Path("penstock.toml").write_text(text)


def plan(task: Any, **options: Any) -> Plan:
    """Return the plan of a call of a task."""
    found: Plan = task.using(**options).call().plan
    return found


def test_the_last_word_wins_and_none_says_nothing() -> None:
    """A later source wins option by option; None leaves what was said before."""
    assert merged({"a": 1, "b": 1}, {"b": 2, "c": None}, {"a": None, "c": 3}) == {
        "a": 1, "b": 2, "c": 3
    }  # fmt: skip


FILE = """
[queues.q]
priority = 1
retries = 1
timeout = 100

[queues.other]
priority = 9
retries = 9
timeout = 900

[routes]
"t" = { queue = "q", priority = 2, retries = 2 }
"t*" = { queue = "other", priority = 7 }
"""
#: What says something -> (queue, priority, retries, timeout in seconds) of the job.
CASES = [
    ("none", {}, {}, ("default", 5, 3, None)),
    ("t2", {}, {}, ("other", 7, 9, 900)),
    ("t", {}, {}, ("q", 2, 2, 100)),
    ("t", {"priority": 3}, {}, ("q", 3, 2, 100)),
    ("t", {"priority": 3, "timeout": 30}, {"priority": 4}, ("q", 4, 2, 30)),
    ("t", {"queue": "other"}, {}, ("other", 2, 2, 900)),
    ("t", {}, {"queue": "other"}, ("other", 2, 2, 900)),
    ("t", {}, {"queue": "other", "timeout": 40}, ("other", 2, 2, 40)),
    ("none", {}, {"queue": "other"}, ("other", 9, 9, 900)),
    ("none", {"retries": 0}, {"queue": "other"}, ("other", 9, 0, 900)),
    ("t", {"queue": None}, {"queue": None, "priority": None}, ("q", 2, 2, 100)),
]


@pytest.mark.parametrize(("name", "decorator", "call", "expected"), CASES)
def test_precedence(
    app: App, name: str, decorator: dict[str, Any], call: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """Settings < queue < route < decorator < call, option by option."""
    written(FILE)

    @app.task(name=name, **decorator)
    def job() -> None: ...

    made = plan(job, **call)
    task, spec = made.registration, made.spec
    retries = task.policy.retries if spec.retries is None else spec.retries
    timeout_ms = task.limits.timeout_ms if spec.timeout_ms is None else spec.timeout_ms
    timeout_s = None if timeout_ms is None else timeout_ms // 1000
    assert (made.queue, spec.priority, retries, timeout_s) == expected


def test_the_worker_is_told_the_same(app: App) -> None:
    """What the supervisor learns of a task, and which queues it serves, follow the file."""
    written(FILE + '\n[queues.idle]\nmemory = "1GiB"\n')

    @app.task(name="t")
    def job() -> None: ...

    manifest = app.manifest()
    [facts] = manifest.tasks
    assert (facts.queue, facts.policy.retries, facts.timeout_ms) == ("q", 2, 100_000)
    assert manifest.queues == ("default", "q", "other", "idle")


def test_memory_of_a_queue_puts_its_jobs_into_children(app: App) -> None:
    """`memory` of a queue is a reservation, for its own tasks and for calls that name it."""
    written('[queues.big]\nmemory = "1GiB"\n[routes]\n"mine" = "big"\n')

    @app.task(name="mine")
    def mine() -> None: ...

    @app.task(name="guest")
    def guest() -> None: ...

    assert plan(mine).registration.memory_bytes == 2**30
    assert plan(mine).spec.need == plan(guest, queue="big").spec.need != plan(guest).spec.need
    assert plan(guest, queue="big").spec.memory_bytes == 2**30
    assert plan(guest, queue="big", memory="64MiB").spec.memory_bytes == 64 * 2**20


def test_tasks_that_come_late_and_library_tasks_are_routed_too(app: App) -> None:
    """A task that is made, or included, after the file was read follows it as the others do."""
    written('[routes]\n"late" = "q"\n"shared" = "q"\n')
    assert app.config.tables.routes

    @app.task(name="late")
    def late() -> None: ...

    @library_task(name="shared")
    def shared() -> None: ...

    app.include(shared)
    found = [app.registry["late"], app.registry["shared"]]
    assert [one.queue for one in found] == ["q", "q"]
    assert (plan(late).queue, plan(shared).queue) == ("q", "q")


def test_reading_the_file_twice_changes_nothing(app: App) -> None:
    """Two threads may be first to use an app: the second reading finds what the first has made."""
    written(FILE)

    @app.task(name="t", retries=0)
    def job() -> None: ...

    def facts(registration: Registration) -> tuple[Any, ...]:
        return registration.queue, registration.policy, registration.limits, registration.options

    assert app.config.file is not None
    first = facts(app.registry["t"])
    assert app.registry.routing is not None
    app.registry.follow(app.registry.routing)
    assert facts(app.registry["t"]) == first


def test_a_contradiction_names_the_task(app: App) -> None:
    """A thread cannot have memory of its own: the error says which task, and that it is a table."""
    written('[queues.default]\nmemory = "1GiB"\n')

    @app.task(name="t", isolation="thread")
    def job() -> None: ...

    with pytest.raises(BadSetting, match=r"task t, with what \[routes\] and .*isolation='thread'"):
        plan(job)
