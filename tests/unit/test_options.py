"""The options of a call: checked, turned into milliseconds and bytes, and laid over each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from penstock import After, App, Job
from penstock.broker.requests import Durability
from penstock.core.footprint import size_bucket
from penstock.core.job import JobRecord
from penstock.core.lifecycle import State
from penstock.core.need import learned_need
from penstock.errors import BadSetting


@pytest.fixture
def app() -> App:
    """An app with one task of its own defaults."""
    app = App("memory://")

    @app.task(
        name="t", queue="home", priority=7, expires="1h", result_ttl="2h", memory="1GiB", retries=9
    )
    def task(n: int = 0) -> None: ...

    return app


def stored(app: App, **options: Any) -> JobRecord:
    """Return the record of a job that was enqueued with these options."""
    job: Job[None] = task_of(app).using(**options).enqueue()
    return job.record()


def task_of(app: App) -> Any:
    """Return the app's task."""
    from penstock.task import Home, SyncTask

    home = Home(app.registry["t"])
    home.apps.append(app)
    return SyncTask(home)


def test_task_defaults_that_the_broker_needs_are_stored(app: App) -> None:
    """Queue, priority, expiry, result TTL and need come from the task; retries stay with it."""
    record = stored(app)
    spec = record.spec
    assert (record.queue, spec.priority, spec.need) == ("home", 7, "alone.m19")
    assert (spec.expires_ms, spec.result_ttl_ms) == (3_600_000, 7_200_000)
    assert (spec.retries, spec.timeout_ms, spec.memory_bytes) == (None, None, None)


def test_options_of_the_call_win(app: App) -> None:
    """Every option arrives in the stored spec, in milliseconds and bytes."""
    record = stored(
        app,
        queue="away",
        priority=0,
        expires=timedelta(minutes=1),
        timeout="1h30min",
        soft_timeout=0,
        retries=0,
        key="k 1",
        tenant="acme",
        memory="2GiB",
        size=12,
        tags=["a", "b"],
        triggered_by="cron",
        result_ttl=0.5,
    )
    spec = record.spec
    assert (record.queue, spec.priority, spec.need) == ("away", 0, "alone.m22")
    assert (spec.expires_ms, spec.result_ttl_ms, spec.timeout_ms) == (60_000, 500, 5_400_000)
    assert (spec.soft_timeout_ms, spec.retries, spec.key) == (0, 0, "k 1")
    assert (spec.tenant, spec.memory_bytes, spec.size) == ("acme", 2**31, 12.0)
    assert (spec.tags, spec.triggered_by) == (("a", "b"), "cron")


def test_options_add_up_and_the_last_word_wins(app: App) -> None:
    """`using` twice keeps the first options; None goes back to the task's own."""
    task = task_of(app).using(priority=1, tenant="a").using(priority=2, tags=["x"])
    spec = task.enqueue().record().spec
    assert (spec.priority, spec.tenant, spec.tags) == (2, "a", ("x",))
    spec = task.using(priority=None, tags=None).enqueue().record().spec
    assert (spec.priority, spec.tenant, spec.tags) == (7, "a", ())
    assert task_of(app).enqueue().record().spec.tenant is None


def test_memory_auto_drops_a_declared_size(app: App) -> None:
    """memory="auto" asks for a child with a learned reservation, whatever the task declares."""
    task = task_of(app).using(memory="2GiB").using(memory="auto")
    spec = task.enqueue().record().spec
    assert (spec.need, spec.memory_bytes) == (learned_need(task.name, None), None)
    spec = task.using(size=1_000).enqueue().record().spec
    assert spec.need == learned_need(task.name, size_bucket(1_000.0))
    assert task.using(memory=None).enqueue().record().spec.need == "alone.m19"


def test_a_call_asks_for_more_than_memory(app: App) -> None:
    """All of it stands in the name of its set; a call's word wins, and none is a word too."""
    task = task_of(app).using(cpus=0.5, requires=["eu", "b", "eu"], resources={"b": 2, "a": 0})
    assert task.enqueue().record().spec.need == "takes.c500.lb.leu.r2-b:alone.m19"
    gpu = task.using(gpu=1, gpu_memory="1500MB", requires=(), resources=None, memory="auto")
    need = gpu.enqueue().record().spec.need
    assert need == f"takes.c500.g1.v1431:{learned_need(task.name, None)}"
    need = gpu.using(size=1_000).enqueue().record().spec.need
    assert need == f"takes.c500.g1.v1431:{learned_need(task.name, size_bucket(1_000.0))}"

    @app.task(name="own", gpu=2, cpus=3)
    def own() -> None: ...

    assert own.enqueue().record().spec.need == "takes.c3000.g2:alone"
    assert own.using(gpu=0, cpus=1).enqueue().record().spec.need == "takes.c1000:alone"


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"cpus": 0}, "cpus 0 is not allowed: give a number from 0.1"),
        ({"cpus": True}, "cpus True is not allowed"),
        ({"requires": "gpu"}, "requires 'gpu' is not allowed: give a set of labels"),
        ({"requires": ["a b"]}, "label 'a b' is not allowed: use 1 to 32 characters"),
        ({"resources": ["license"]}, "resources .* are not allowed: give how many"),
        ({"resources": {"license": 0.5}}, "resource license cannot be counted as 0.5"),
        ({"gpu": 0.5}, "gpu 0.5 is not allowed: give a whole number of devices"),
        ({"gpu_memory": "8"}, "gpu_memory '8' is not a size"),
        ({"requires": [letter * 32 for letter in "abc"]}, "are too much for one job"),
        ({"isolation": "thread", "cpus": 1}, "isolation='thread' and cpus= exclude each other"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(app: App, options: Any, cause: str) -> None:
    """Where the task is declared, and, but for its isolation, where it is called."""
    with pytest.raises(BadSetting, match=cause):
        app.task(name="other", **options)
    if "isolation" not in options:
        with pytest.raises(BadSetting, match=cause):
            task_of(app).using(**options).enqueue()


def test_delay_and_instant_make_a_job_scheduled(app: App) -> None:
    """Delay counts from the broker's acceptance, run_at is wall time in any zone."""
    later = stored(app, delay="1h", expires=None)
    assert later.state is State.SCHEDULED
    assert later.due_at is not None
    assert 3_599_000 <= later.due_at - later.enqueued_at <= 3_601_000
    at = datetime(2099, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert stored(app, run_at=at).due_at == 4_070_944_800_000
    assert stored(app, run_at=datetime(1970, 1, 1, tzinfo=UTC)).state is State.QUEUED


def test_parents_are_handles_ids_and_edges(app: App) -> None:
    """After takes one parent or several, each as handle, id or After."""
    task = task_of(app)
    one, two, three = task.enqueue(), task.enqueue(), task.enqueue()
    after = [one, two.id, After(three, on_failure="ignore")]
    record = task.using(after=after).enqueue().record()
    assert [(p.id, p.ignore_failure) for p in record.parents] == [
        (one.id, False),
        (two.id, False),
        (three.id, True),
    ]
    assert record.state is State.BLOCKED
    assert [p.id for p in task.using(after=one).enqueue().record().parents] == [one.id]
    assert task.using(after=one).using(after=None).enqueue().status() is State.QUEUED


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"prio": 1}, "option 'prio' is unknown: use one of queue, priority, delay"),
        ({"queue": "a{b}"}, r"queue name 'a\{b\}' is not allowed"),
        ({"priority": 10.0}, "priority 10.0 is not allowed: give a whole number from 0 to 10"),
        ({"delay": -1}, "delay -1 is not a duration"),
        ({"delay": 1, "run_at": datetime.now(UTC)}, "delay and run_at are both given"),
        ({"run_at": datetime(2026, 1, 1)}, "run_at .* is not an instant"),  # noqa: DTZ001
        ({"run_at": "tomorrow"}, "run_at 'tomorrow' is not an instant"),
        ({"expires": "x"}, "expires 'x' is not a duration"),
        ({"timeout": float("nan")}, "timeout nan is not a duration"),
        ({"retries": 1_001}, "retries 1001 is not allowed"),
        ({"key": ""}, "key '' is not allowed"),
        ({"key": "a\nb"}, r"key 'a\\nb' is not allowed"),
        ({"after": "job-1"}, "job id 'job-1' is not allowed"),
        ({"after": [3]}, "job id 3 is not allowed"),
        ({"after": ["0" * 32] * 1_001}, "after names 1001 jobs, 1000 at most"),
        ({"tenant": "a b"}, "tenant name 'a b' is not allowed"),
        ({"memory": "2"}, "memory '2' is not a size"),
        ({"size": -1}, "size -1 is not allowed"),
        ({"size": float("inf")}, "size inf is not allowed"),
        ({"tags": "nightly"}, "tags 'nightly' are not allowed: give a list"),
        ({"tags": ["a"] * 17}, "give a list of up to 16"),
        ({"tags": ["a b"]}, "tag name 'a b' is not allowed"),
        ({"triggered_by": "a b"}, "triggered_by name 'a b' is not allowed"),
        ({"result_ttl": "x"}, "result_ttl 'x' is not a duration"),
        ({"durability": "strong"}, "durability 'strong' is unknown: use one of none, local"),
    ],
)
def test_option_that_breaks_its_rule_is_refused(
    app: App, options: dict[str, Any], cause: str
) -> None:
    """`using` refuses it at once, with the value, the rule and the way out."""
    with pytest.raises(BadSetting, match=cause):
        task_of(app).using(**options)


def test_edge_knows_two_words_only() -> None:
    """After refuses another word than cancel and ignore."""
    with pytest.raises(BadSetting, match="on_failure 'retry' is unknown"):
        After("0" * 32, on_failure="retry")  # type: ignore[arg-type]


def test_handles_of_one_job_are_equal(app: App) -> None:
    """A handle from an id equals the one from enqueue, and shows its id."""
    job: Job[None] = task_of(app).enqueue()
    assert app.job(job.id) == job
    assert len({app.job(job.id), job}) == 1
    assert (repr(job), job.durability) == (f"Job('{job.id}')", Durability.NONE)
    assert app.job(job.id).durability is None
    with pytest.raises(BadSetting, match="job id 'x' is not allowed"):
        app.job("x")
