"""Names and texts that are more than names: refused where they enter, and data where they do not.

Names of queues, tasks, workers, tags and tenants (SEC25), values that could be SQL or Lua (SEC24,
SEC26), texts that steer terminals (SEC21).
"""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from penstock import App
from penstock.broker.protocol import Broker
from penstock.broker.requests import JobFilter
from penstock.brokers.redis.scripts import read_scripts
from penstock.brokers.redis.weaknesses import weaknesses
from penstock.cli import failure
from penstock.cli.output import Output
from penstock.config.resolve import load
from penstock.errors import BadSetting, JobDead
from penstock.tasks.asked import Asked, ask
from tests.support.postgres_server import fresh_database
from tests.support.redis_server import RedisServer

SOURCE: Final = Path(__file__).resolve().parents[2] / "src/penstock"
HOSTILE: Final = (
    "", " ", "a b", "a}{b", "{a}", "a\nb", "a\r\nb", "../a", "a/b", "a\\b", "a\0b", "\x1b[2J",
    "a\n", "x" * 129, "x" * 2**20, "\U0001f600", "\u202ea", "a%b", "a*", "a?", "a'--",
    "'); redis.call(", "x'; DROP TABLE job; --", "\ud800",
)  # fmt: skip
#: Where a name enters, for each kind of name.
DOORS: Final[dict[str, Callable[[Any], object]]] = {
    "queue of a call": lambda name: ask(Asked(), {"queue": name}),
    "tenant of a call": lambda name: ask(Asked(), {"tenant": name}),
    "tag of a call": lambda name: ask(Asked(), {"tags": [name]}),
    "cause of a call": lambda name: ask(Asked(), {"triggered_by": name}),
    "queue of a task": lambda name: App().task(queue=name),
    "name of a task": lambda name: App().task(name=name)(str),
    "alias of a task": lambda name: App().task(aliases=[name]),
    "queues of a worker": lambda name: load(
        flags={"queues": ["a", f"a{name}b" if name else " "]}, environ={}
    ),
    "name of a worker": lambda name: load(flags={"worker_name": name}, environ={}),
}
#: The worker's and the task's name may be left out.
OPTIONAL: Final = {"name of a worker", "name of a task"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:30])
def test_no_door_takes_a_name_that_is_none(door: str, name: str) -> None:
    """Each way in refuses it with an error of bounded length that shows it escaped."""
    if name == "" and door in OPTIONAL:
        return
    with pytest.raises(BadSetting) as refused:
        DOORS[door](name)
    text = str(refused.value)
    assert len(text) < 400
    assert text.isprintable(), text


@pytest.fixture(scope="module", params=["memory", "sqlite", "redis", "postgres"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis: RedisServer
) -> Iterator[Broker]:
    """Each broker in turn, with one job in it."""
    if request.param == "postgres":
        with fresh_database() as url:
            yield from with_job(url)
        return
    folder = tmp_path_factory.mktemp("names")
    urls = {"memory": "memory:", "sqlite": f"sqlite:///{folder / 'p.db'}", "redis": redis.url}
    yield from with_job(urls[request.param])


def with_job(url: str) -> Iterator[Broker]:
    """Yield a broker in which one job waits."""
    app = App(url)
    task = app.task(name="t")(_nothing)
    with closing(app):
        task.enqueue()
        yield app.broker


def _nothing() -> None:
    """Do nothing."""


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:30])
def test_the_port_takes_no_hostile_queue_and_finds_nothing_by_one(
    broker: Broker, name: str
) -> None:
    """`register` refuses it; a filter by it finds no job, and every job is there afterwards."""
    with pytest.raises(BadSetting):
        broker.register([name])
    if "\0" in name or "\ud800" in name:
        # Nothing of that name can be stored at all; what asks for it may be told so.
        return
    for where in (JobFilter(queue=name), JobFilter(task=name)):
        assert broker.list_jobs(where, limit=10, before=None).jobs == ()
    assert len(broker.list_jobs(JobFilter(), limit=10, before=None).jobs) == 1


def test_lua_is_constant_text() -> None:
    """No script holds anything but what ships: it is made of files, before any data is known."""
    first = read_scripts()
    read_scripts.cache_clear()
    second = read_scripts()
    assert second is not first
    assert {name: one.text for name, one in first.items()} == {
        name: one.text for name, one in second.items()
    }
    for name, script in first.items():
        assert not re.search(r"\b(loadstring|loadfile|dofile|require|setfenv)\b", script.text), name
    # Only a script's own text and digest are ever sent as code.
    evaluated = [
        ast.unparse(node)
        for path in sorted((SOURCE / "brokers/redis").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Tuple) and ast.unparse(node).startswith(("('EVAL", '("EVAL'))
    ]
    assert len(evaluated) >= 4
    for words in evaluated:
        assert words.split(", ")[1] in ("script.sha", "script.text"), words


#: Each expression that puts a statement together, and of what: never of a value that was given.
PUT_TOGETHER: Final = {
    "_SQL['heads'].format(arms=_UNION.join(arms))": "one arm a ready set, its name a parameter",
    "_SQL['arms_of_queue'].format(arms=sets)": "the same",
    "_SQL['listing'].format(where='\\nAND '.join(conditions))": "the three below",
    "f'state IN ({names})'": "states out of an enum",
    "f'{column} = ?'": "two columns of ours",
    "f'PRAGMA journal_size_limit = {LOG_BYTES_MAX}'": "a number of ours",
    "f\"PRAGMA query_only = {('ON' if reads_only else 'OFF')}\"": "two words",
    "f'PRAGMA page_size = {PAGE_BYTES}'": "a number of ours",
    "f'PRAGMA application_id = {APPLICATION_ID}'": "a number of ours",
    "f\"PRAGMA synchronous = {('FULL' if fsync else 'NORMAL')}\"": "two words",
    "f'SELECT pg_advisory_xact_lock({_LOCK})'": "a number of ours",
    "f\"SET application_name = 'penstock-{self.token}'\"": "hexadecimal digits that we draw",
}
_SQL_WORD: Final = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|PRAGMA|WHERE|SET|IN \()\b|= \?|IN \("
)


def put_together(tree: ast.AST) -> Iterator[str]:
    """Yield each expression that makes SQL out of parts."""
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, ast.expr) else ""
        if isinstance(node, ast.JoinedStr):
            literal = "".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
            if _SQL_WORD.search(literal):
                yield text
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            made_of = ast.unparse(node.func.value)
            if node.func.attr == "format" and ("_SQL" in made_of or _SQL_WORD.search(made_of)):
                yield text
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            left = node.left
            if isinstance(left, ast.Constant) and _SQL_WORD.search(str(left.value)):
                yield text


def test_sql_is_made_of_constants_and_parameters() -> None:
    """Statements stand in files; the few that are put together are so of constants."""
    found = {
        text
        for kind in ("sqlite", "postgres")
        for path in sorted((SOURCE / "brokers" / kind).glob("*.py"))
        for text in put_together(ast.parse(path.read_text()))
    }
    assert found == set(PUT_TOGETHER)
    for planted in (
        "f'SELECT {x}'",
        "'UPDATE %s' % x",
        "'DELETE FROM ' + x",
        "_SQL['a'].format(x)",
    ):
        assert list(put_together(ast.parse(planted))), planted
    for file in (SOURCE / "brokers").rglob("*.sql"):
        assert not re.search(r"\bI?LIKE\b|\bSIMILAR\b", file.read_text()), file


@pytest.mark.parametrize(
    ("kind", "version", "count"),
    [
        ("redis", "6.2.19", 1), ("redis", "6.2.20", 0), ("redis", "7.0.15", 1),
        ("redis", "7.2.10", 2), ("redis", "7.2.11", 1), ("redis", "8.2.1", 2),
        ("redis", "8.2.2", 1), ("redis", "8.6.2", 1), ("redis", "8.6.3", 0),
        ("redis", "9.0.0", 0), ("valkey", "7.2.10", 1), ("valkey", "8.1.3", 1),
        ("valkey", "8.1.4", 0), ("valkey", "9.0.1", 0), ("redis", "unknown", 0),
    ],
)  # fmt: skip
def test_known_weaknesses_are_named(kind: str, version: str, count: int) -> None:
    """`doctor` names the flaws of a version that has them, and says nothing of one without."""
    told = weaknesses(kind, version)
    assert len(told) == count, told
    assert all("CVE-" in text for text in told)


def test_no_text_of_a_job_steers_a_terminal() -> None:
    """Lines, tables, JSON and errors show control characters as escapes, C1 and bidi ones too."""
    evil = "a\x1b[2J\r\nforged\x07\x9b31m\u202e\u2028\x7f"
    out, err = io.StringIO(), io.StringIO()
    for as_json in (False, True):
        shown = Output(as_json=as_json, stdout=out, stderr=err)
        shown.document({"error": evil})
        shown.line(evil)
        shown.note(evil)
        shown.fields([("error", evil)])
        dead = JobDead(evil, job_id="j", reason=evil, error=evil)
        failure.show(dead, name="penstock", as_json=as_json, debug=True, stderr=err)
    for text in (out.getvalue(), err.getvalue()):
        assert text.replace("\n", "").isprintable(), ascii(text)
    assert not any(
        line.startswith("forged") for line in out.getvalue().splitlines() if "\\" in line
    )
