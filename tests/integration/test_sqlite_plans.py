"""How SQLite runs the statements of the hot verbs: by an index, and without sorting a backlog."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from penstock.broker.requests import Offer
from penstock.brokers.sqlite.claim import heads_statement
from penstock.brokers.sqlite.connection import connect
from penstock.brokers.sqlite.statements import read_migrations, read_statements

#: Files whose statements run at every call, or over every job.
HOT = (
    "cancel", "claim", "enqueue", "expire", "family", "forget", "lease", "note", "promote",
    "prune", "requeue", "settle", "sleeper",
)  # fmt: skip

#: Statements that read a whole table, each with the reason why that table is short.
SHORT = {
    "register.all": "one row per queue",
    "reclaim.tick": "one row",
    "sleeper.tokens": "one row per sleeper and set",
    "inspection.counts": "one row per queue",
    "prune.drop_capacities": "one row per lease",
}

#: Statements that sort, each with what bounds the rows.
SORTED = {
    "reclaim.orphans": "jobs that run under closed leases",
}

#: Parts of a file that are put together by claim.py.
PARTS = {"claim.arm", "claim.arms_of_queue", "claim.heads", "inspection.listing"}


@pytest.fixture(scope="module")
def database() -> Iterator[apsw.Connection]:
    """An empty database with our schema, whose plans do not depend on its content."""
    connection = apsw.Connection(":memory:")
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for step in read_migrations():
        connection.execute(step.sql)
    yield connection
    connection.close()


def statements() -> dict[str, str]:
    """Return every statement of the adapter as "file.name"."""
    folder = files("penstock.brokers.sqlite").joinpath("sql")
    verbs = sorted(file.name.removesuffix(".sql") for file in folder.iterdir())
    return {
        f"{verb}.{name}": sql
        for verb in verbs
        if verb != "migrations"
        for name, sql in read_statements(verb).items()
        if f"{verb}.{name}" not in PARTS
    }


def plan(database: apsw.Connection, sql: str) -> list[str]:
    """Return the steps of SQLite's plan for one statement."""
    cursor = database.cursor()
    cursor.exec_trace = lambda cursor, sql, bindings: True  # noqa: ARG005 - apsw's signature
    numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    count = max(numbered) if numbered else len(re.findall(r"\?", sql))
    return [str(row[3]) for row in cursor.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * count)]


@pytest.mark.parametrize("name", sorted(statements()))
def test_no_statement_reads_a_long_table(database: apsw.Connection, name: str) -> None:
    """Each statement finds its rows by an index; tables that are read whole are named as short."""
    scans = [
        step
        for step in plan(database, statements()[name])
        if re.match(r"SCAN (?!CONSTANT|json_each|head\b|found\b|\(subquery)", step)
    ]
    assert bool(scans) == (name in SHORT), scans


@pytest.mark.parametrize("name", sorted(statements()))
def test_no_statement_sorts_a_backlog(database: apsw.Connection, name: str) -> None:
    """No hot statement sorts; the others that do are named with their bound."""
    sorts = [step for step in plan(database, statements()[name]) if "TEMP B-TREE" in step]
    assert bool(sorts) == (name in SORTED), sorts


MANY = tuple(f"alone.m{number}" for number in range(64))


@pytest.mark.parametrize(
    "offers",
    [
        (Offer("a", ("shared",)),),
        (Offer("a", ("shared", "thread", "alone")), Offer("b", ("shared",))),
        (Offer("a", MANY),),
    ],
    ids=["one set", "four sets", "64 sets"],
)
def test_a_claim_merges_the_offered_sets(
    database: apsw.Connection, offers: tuple[Offer, ...]
) -> None:
    """Each offered set is one search of the ready index; they are merged, never sorted."""
    steps = plan(database, heads_statement(offers))
    sets = sum(len(offer.needs) for offer in offers)
    searches = [s for s in steps if "COVERING INDEX job_ready (queue=? AND need=?)" in s]
    assert len(searches) == sets
    assert steps.count("MERGE (UNION ALL)") == sets - 1
    assert not [step for step in steps if "TEMP B-TREE" in step or step.startswith("SCAN job")]
    # Then one look-up per job taken, and one more for a spec that does not stand in the row.
    last = steps[steps.index("SCAN head") + 1 :]
    assert last == [
        "SEARCH job USING INTEGER PRIMARY KEY (rowid=?)",
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH long_spec USING INTEGER PRIMARY KEY (rowid=?)",
    ]


def test_an_offer_with_a_limit_sorts_only_what_it_takes(database: apsw.Connection) -> None:
    """The limit of one queue is applied to its merged sets before they meet those of others."""
    offers = (Offer("a", ("shared", "thread"), limit=3), Offer("b", ("shared",)))
    sql = heads_statement(offers)
    steps = plan(database, sql)
    # The inner LIMIT stands before the sort, so at most three rows reach it.
    assert sql.count("LIMIT ?") == 2
    assert len([step for step in steps if "TEMP B-TREE" in step]) == 1
    assert not [step for step in steps if step.startswith("SCAN job")]


def test_statements_are_prepared_once(tmp_path: Path) -> None:
    """A new value does not make SQLite prepare again, which costs ten times the statement."""
    connection = connect(str(tmp_path / "jobs.db"), busy_timeout_s=1, creates=True)
    for step in read_migrations():
        connection.execute(step.sql)
    sql = heads_statement((Offer("a", ("shared",)),))
    assert not is_prepared_again(connection, sql)
    # The same look sees it where SQLite is left to look at the values.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 0)
    assert is_prepared_again(connection, f"{sql} ")
    connection.close()


def is_prepared_again(connection: apsw.Connection, sql: str) -> bool:
    """Return whether SQLite prepares a statement anew for another value."""
    questions: list[int] = []

    def allow(*question: object) -> int:
        """Answer what SQLite asks only while it prepares."""
        questions.append(len(question))
        return apsw.SQLITE_OK

    connection.authorizer = allow
    connection.execute(sql, (1, 1, "need-1", 1, 10)).fetchall()
    assert questions
    questions.clear()
    connection.execute(sql, (1, 2, "need-2", 2, 10)).fetchall()
    connection.authorizer = None
    return bool(questions)


@pytest.mark.parametrize("verb", HOT)
def test_hot_verbs_bind_their_values(verb: str) -> None:
    """No value is written into the text of a statement, so that each is prepared once."""
    for name, sql in read_statements(verb).items():
        assert "{" not in sql or f"{verb}.{name}" in PARTS
