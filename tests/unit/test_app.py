"""The app: registering tasks, hooks, library tasks, modules, the manifest."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import App, AsyncTask, Exponential, SyncTask, current_job, library_task
from penstock.core.manifest import AppManifest
from penstock.core.need import learned_need
from penstock.core.retry import Backoff
from penstock.errors import BadSetting, UnknownTask, UsageError, WrongContext
from penstock.serializers.json import JsonReader, JsonWriter


def double(n: int) -> int:
    """Return twice the number."""
    return 2 * n


async def adouble(n: int) -> int:
    """Return twice the number, later."""
    return 2 * n


def noticed(job_id: str, reason: str, error: str | None) -> None:
    """Take what an on_dead task is given."""


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function as well-behaved decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_decorated_function_is_called_as_before() -> None:
    """A direct call runs here and now and enqueues nothing; names and docs are kept."""
    app = App("memory://")
    task, atask = app.task(double), app.task(adouble)
    assert task(3) == 6
    coroutine = atask(3)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == 6
    assert (isinstance(task, SyncTask), isinstance(atask, AsyncTask)) == (True, True)
    assert (task.__name__, task.__doc__) == ("double", "Return twice the number.")
    assert list(app.broker.counts()) == []


def test_default_name_is_module_and_qualified_name() -> None:
    """A nested function goes without `<locals>`."""
    app = App("memory://")

    @app.task
    def inner() -> None: ...

    assert inner.name == f"{__name__}.test_default_name_is_module_and_qualified_name.inner"
    assert app.task(double).name == f"{__name__}.double"


@pytest.mark.parametrize("way", [["script.py"], ["-m", "script"]])
def test_task_of_a_script_is_named_by_its_file(way: list[str], tmp_path: Path) -> None:
    """In `__main__` the name is the one that a worker finds when it imports the module."""
    script = "from penstock import App\napp = App()\n@app.task\ndef f(): ...\nprint(f.name)\n"
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, *way], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "script.f\n"


def test_name_that_breaks_the_rule_says_how_to_give_another() -> None:
    """A lambda has no name to use; the message names the way out."""
    with pytest.raises(BadSetting, match=r"<la.* is not allowed.*name='\.\.\.'"):
        App().task(lambda: None)
    with pytest.raises(BadSetting, match="not a function"):
        App().task(3)  # type: ignore[call-overload]


def test_two_functions_of_one_name_are_refused() -> None:
    """The message names both places; an alias counts as a name; nothing was added."""
    app = App("memory://")
    app.task(name="one", aliases=["old"])(double)
    with pytest.raises(BadSetting, match=r"'old' is taken by .*double .*test_app\.py:\d+.*adouble"):
        app.task(name="old")(adouble)
    with pytest.raises(BadSetting, match="'one' is taken"):
        app.task(name="new", aliases=["one"])(adouble)
    assert [registration.name for registration in app.registry] == ["one"]


def test_registry_finds_names_and_aliases_only() -> None:
    """Look-up by name or alias; never an import path, a prefix or an attribute walk."""
    app = App("memory://")
    app.task(name="shop.double", aliases=["old.double"])(double)
    found = app.registry.find("shop.double")
    assert found is not None
    assert app.registry.find("old.double") is found
    for other in ("os.system", "shop", "shop.double.__globals__", f"{__name__}.double", ""):
        assert app.registry.find(other) is None
    with pytest.raises(UnknownTask, match=r"did you mean shop\.double or"):
        app.registry["shop.duoble"]


def test_registration_holds_what_a_worker_needs() -> None:
    """Every option of the decorator arrives checked, in milliseconds and bytes."""
    app = App("memory://")
    app.task(name="notice")(noticed)
    app.task(
        name="all",
        queue="heavy",
        priority=9,
        retries=1,
        backoff=Exponential(base="1s", cap=60, jitter="none"),
        timeout="1h",
        soft_timeout=timedelta(minutes=50),
        isolation="process",
        memory="2GiB",
        light=False,
        retry_on=OSError,
        discard_on=[KeyError, ValueError],
        on_dead="notice",
        result_ttl="7d",
        expires=3,
        key_window="2h",
    )(double)
    found = app.registry["all"]
    assert (found.queue, found.priority, found.light) == ("heavy", 9, False)
    assert found.policy.retries == 1
    assert found.policy.backoff == Backoff(1_000, 60_000, "none")
    assert (found.limits.timeout_ms, found.limits.soft_timeout_ms) == (3_600_000, 3_000_000)
    assert (found.isolation, found.memory_bytes, found.is_isolated) == ("process", 2**31, True)
    assert (found.retry_on, found.discard_on) == ((OSError,), (KeyError, ValueError))
    assert (found.on_dead, found.result_ttl_ms) == ("notice", 7 * 86_400_000)
    assert (found.expires_ms, found.key_window_ms) == (3_000, 7_200_000)
    assert found.function is double
    assert not found.is_async
    assert app.registry["notice"].policy.retries == 3


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"retires": 3}, "option 'retires' of a task is unknown: use one of name"),
        ({"queue": "a b"}, "queue name 'a b' is not allowed"),
        ({"priority": 11}, "priority 11 is not allowed: give a whole number from 0 to 10"),
        ({"priority": True}, "priority True is not allowed"),
        ({"retries": -1}, "retries -1 is not allowed"),
        ({"backoff": "2s"}, r"backoff '2s' is not allowed: give Exponential"),
        ({"timeout": "soon"}, "timeout 'soon' is not a duration"),
        ({"isolation": "vm"}, "isolation 'vm' is unknown: use 'process' or 'thread'"),
        ({"memory": "2 apples"}, "memory '2 apples' is not a size"),
        ({"memory": 0}, "memory 0 is no reservation"),
        ({"memory": "auto", "isolation": "thread"}, "exclude each other"),
        ({"exclusive": "yes"}, "exclusive 'yes' is not allowed: use True or False"),
        ({"on_partition": "stop"}, "on_partition 'stop' is unknown: use 'continue' or 'kill'"),
        (
            {"exclusive": True, "on_partition": "continue"},
            "exclusive=True and on_partition='continue' exclude each other: .* leave on_partition",
        ),
        (
            {"exclusive": True, "isolation": "thread"},
            "isolation='thread' and exclusive=True exclude each other: .* leave isolation out",
        ),
        (
            {"on_partition": "kill", "isolation": "thread"},
            "isolation='thread' and on_partition='kill' exclude each other",
        ),
        ({"exclusive": True, "isolation": "vm"}, "isolation 'vm' is unknown"),
        ({"light": "yes"}, "light 'yes' is not allowed"),
        ({"retry_on": ["OSError"]}, "retry_on 'OSError' is not allowed: give subclasses"),
        ({"discard_on": KeyboardInterrupt}, "discard_on .* is not allowed"),
        ({"on_dead": "a b"}, "task name 'a b' is not allowed"),
        ({"aliases": ["a b"]}, "task name 'a b' is not allowed"),
    ],
)
def test_option_that_breaks_its_rule_is_refused(options: dict[str, Any], cause: str) -> None:
    """The decorator refuses it where it stands, with the value, the rule and the way out."""
    with pytest.raises(BadSetting, match=cause):
        App().task(**options)


def test_thread_is_no_place_for_a_coroutine() -> None:
    """isolation='thread' on an async def is refused."""
    with pytest.raises(BadSetting, match="isolation='thread' is for plain functions"):
        App().task(isolation="thread")(adouble)


def test_on_dead_task_must_take_what_it_is_given() -> None:
    """A task that does not take job_id, reason and error cannot be an on_dead task."""
    app = App("memory://")
    with pytest.raises(BadSetting, match="does not take job_id, reason, error"):
        app.task(on_dead=app.task(double))


@pytest.mark.parametrize(
    ("options", "need"),
    [
        ({}, "thread"),
        ({"isolation": "process"}, "alone"),
        ({"isolation": "thread"}, "thread"),
        ({"memory": "auto"}, learned_need("t", None)),
        ({"memory": "16MiB"}, "alone.m0"),
        ({"memory": "2GiB"}, "alone.m22"),
        ({"exclusive": True}, "alone"),
        ({"on_partition": "kill"}, "alone"),
        ({"exclusive": False, "on_partition": "kill", "isolation": "process"}, "alone"),
        ({"exclusive": True, "on_partition": "kill", "memory": "16MiB"}, "alone.m0"),
        ({"exclusive": False, "on_partition": "continue"}, "thread"),
        ({"exclusive": None, "on_partition": None, "isolation": "thread"}, "thread"),
    ],
)
def test_need_of_a_task_follows_from_its_options(options: Any, need: str) -> None:
    """Isolation and memory put a task's jobs into a child's ready set."""
    app = App("memory://")
    app.task(name="t", **options)(double)
    [facts] = app.manifest().tasks
    assert facts.need == need


@pytest.mark.parametrize("function", [double, adouble])
@pytest.mark.parametrize("options", [{"exclusive": True}, {"on_partition": "kill"}])
def test_a_supervisor_is_told_which_jobs_die_when_it_is_cut_off(
    function: Any, options: Any
) -> None:
    """An exclusive task is isolated, and its facts say what to do; so it is for `kill`."""
    app = App("memory://")
    app.task(name="other")(double)
    app.task(name="t", **options)(function)
    facts = {one.name: one for one in app.manifest().tasks}
    assert (facts["t"].isolated, facts["t"].on_partition) == (True, "kill")
    assert (facts["other"].isolated, facts["other"].on_partition) == (False, "continue")
    told = msgspec.json.decode(msgspec.json.encode(app.manifest()), type=AppManifest)
    assert {one.name: one.on_partition for one in told.tasks} == {"t": "kill", "other": "continue"}


def test_decorators_below_the_task_are_seen_through() -> None:
    """A wrapped coroutine function stays async, and its own parameters count."""
    app = App("memory://")
    task: Any = app.task(name="t")(traced(adouble))
    assert app.registry["t"].is_async
    assert task.call(n=3).payload == b'{"n":3}'


def test_library_task_needs_an_app() -> None:
    """It can be called at once, and enqueued once exactly one app has included it."""
    task = library_task(name="lib.double")(double)
    assert task(2) == 4
    with pytest.raises(WrongContext, match="belongs to no app yet"):
        task.enqueue(1)
    one, two = App("memory://"), App("memory://")
    one.include(task)
    one.include(task)
    assert task.using(priority=1).enqueue(1).id
    two.include(task)
    with pytest.raises(WrongContext, match=r"belongs to 2 apps.*app\.bound\(task\)"):
        task.enqueue(1)
    two.bound(task).enqueue(1)
    assert [counts.queued for app in (one, two) for counts in app.broker.counts()] == [1, 1]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package on the path, with tasks in three places and one library task."""
    files = {
        "shop_x/__init__.py": "from penstock import App\napp = App('memory://')\n",
        "shop_x/tasks.py": "from shop_x import app\n@app.task\ndef top(): ...\n",
        "shop_x/mail/__init__.py": "",
        "shop_x/mail/tasks.py": "from shop_x import app\n@app.task\ndef mail(): ...\n",
        "shop_x/mail/other.py": "raise RuntimeError('not a tasks module')\n",
        "shop_x/late.py": "from shop_x import app\n@app.task\ndef late(): ...\n",
        "shop_x/lib.py": "from penstock import library_task\n@library_task\ndef lib(): ...\n",
        "shop_x/empty.py": "",
        "shop_x/broken.py": "import shop_x_missing\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in [name for name in sys.modules if name.split(".")[0] == "shop_x"]:
        monkeypatch.delitem(sys.modules, module)
    return tmp_path


def test_modules_are_imported_when_the_app_is_loaded(shop: Path) -> None:
    """Included modules and discovered `tasks` modules register their tasks, once, at load."""
    import shop_x  # type: ignore[import-not-found]
    import shop_x.lib  # type: ignore[import-not-found]

    app: App = shop_x.app
    app.autodiscover("shop_x")
    app.include(shop_x.lib)
    assert [task.name for task in app.registry] == ["shop_x.lib.lib"]
    app.load()
    app.load()
    names = {task.name for task in app.registry}
    assert names == {"shop_x.lib.lib", "shop_x.tasks.top", "shop_x.mail.tasks.mail"}
    empty = importlib.import_module("shop_x.empty")
    with pytest.raises(BadSetting, match=r"module shop_x\.empty has no library task"):
        app.include(empty)


def test_module_that_cannot_be_found_is_named(shop: Path) -> None:
    """A wrong name is a usage error; an import that fails inside the module passes through."""
    with pytest.raises(UsageError, match=r"module 'shop_x\.nothing' of the app"):
        App(include=["shop_x.nothing"]).load()
    with pytest.raises(ModuleNotFoundError, match="shop_x_missing"):
        App(include=["shop_x.broken"]).load()
    discovering = App()
    discovering.autodiscover("shop_x.empty")
    with pytest.raises(UsageError, match="no module named `tasks`"):
        discovering.load()


def test_hooks_and_middleware_keep_their_order() -> None:
    """Start hooks and middleware in order of registration, stop hooks in reverse."""
    app = App("memory://")

    def one() -> None: ...
    async def two() -> None: ...
    async def around(job: Any, call_next: Any) -> Any:
        return await call_next()

    assert app.on_runner_start(one) is one
    app.on_runner_start(two)
    app.on_runner_stop(one)
    app.on_runner_stop(two)
    assert app.middleware(around) is around
    assert app.start_hooks == (one, two)
    assert app.stop_hooks == (two, one)
    assert app.middlewares == (around,)


def test_manifest_is_data() -> None:
    """The manifest survives JSON, and holds tasks, queues, URL and the app's own settings."""
    app = App("memory://", settings={"poll": timedelta(seconds=1), "queues": ["a", "b"]})
    app.task(name="one", queue="fast", aliases=["uno"])(double)
    app.task(name="two", timeout="1min", on_dead="one")(adouble)
    manifest = app.manifest()
    text = JsonWriter().write(manifest, "manifest")
    assert JsonReader(AppManifest).read(text, "manifest") == manifest
    assert manifest.queues == ("default", "fast")
    assert (manifest.url, manifest.settings) == ("memory://", {"poll": "1000ms", "queues": "a,b"})
    one, two = manifest.tasks
    assert (one.name, one.aliases, one.queue, one.need) == ("one", ("uno",), "fast", "thread")
    assert (two.timeout_ms, two.on_dead, two.is_async, two.need) == (60_000, "one", True, "shared")


def test_current_job_exists_in_jobs_only() -> None:
    """Outside a job current_job() says where it works."""
    with pytest.raises(WrongContext, match="no job runs here"):
        current_job()


def test_public_names_can_all_be_imported() -> None:
    """Every name in `__all__` is there, an unknown one is an AttributeError, dir shows all."""
    import penstock

    for name in penstock.__all__:
        assert getattr(penstock, name) is not None
    assert dir(penstock) == sorted(penstock.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        penstock.Nothing  # noqa: B018 - the look-up is the test


def test_what_cannot_be_a_task_is_refused() -> None:
    """Generators and classes are refused where they are decorated, not at their first job."""

    def several() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for wrong in (several, later):
        with pytest.raises(BadSetting, match="is a generator, and a job has one result"):
            App("memory://").task(wrong)
    with pytest.raises(BadSetting, match="is not a function"):
        App("memory://").task(int)


def test_a_soft_limit_that_cannot_fire_is_refused() -> None:
    """The soft limit stands under the hard one; an empty queue name is no default."""
    app = App("memory://")
    with pytest.raises(BadSetting, match="soft_timeout '9s' is not under timeout '1s'"):
        app.task(soft_timeout="9s", timeout="1s")
    with pytest.raises(BadSetting, match="queue name ''"):
        app.task(queue="")


def test_on_dead_names_a_task_that_is_there() -> None:
    """A missing one is told with its way out; a known one passes."""
    app = App("memory://")

    @app.task(name="fragile", on_dead="alarm")
    def fragile() -> None: ...

    with pytest.raises(BadSetting, match="on_dead of task fragile names 'alarm'"):
        app.registry.check_on_dead()

    @app.task(name="alarm")
    def alarm(job_id: str, reason: str, error: str | None) -> None: ...

    app.registry.check_on_dead()
