"""Log lines: what they carry, and that nothing can forge them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import pytest

from penstock.telemetry import logs


@dataclass
class Job:
    """As much of a current job as log lines name."""

    id: str = "j1"
    task: str = "shop.mail"
    claim_number: int = 2
    queue: str = "default"


class Place:
    """A root logger of its own for one test."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.job: Job | None = None

    def install(self, form: str, level: str = "debug") -> None:
        """Write lines of this form."""
        logs.install(level=level, form=form, current=lambda: self.job, stream=self.stream)

    def lines(self) -> list[str]:
        """Return what was written."""
        return self.stream.getvalue().splitlines()


@pytest.fixture
def place() -> Iterator[Place]:
    """Restore the root logger afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Place()
    root.handlers[:], root.level = handlers, level


def test_json_lines_are_objects(place: Place) -> None:
    """Each line is one JSON object with level, logger, message and the extra fields."""
    place.install("json")
    logging.getLogger("shop").info("sent %d", 3, extra={"count": 3, "who": "x"})
    [line] = place.lines()
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("info", "shop", "sent 3")
    assert (found["count"], found["who"]) == (3, "x")
    assert found["at"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "human"])
def test_lines_of_an_attempt_name_it(place: Place, form: str) -> None:
    """While a job runs every line carries its job, task, attempt and queue."""
    place.install(form)
    place.job = Job()
    logging.getLogger("any.library").warning("slow")
    [line] = place.lines()
    if form == "json":
        found = json.loads(line)
        assert [found[name] for name in ("job", "task", "attempt", "queue")] == [
            "j1", "shop.mail", 2, "default",
        ]  # fmt: skip
    else:
        assert line.endswith("[job=j1 task=shop.mail attempt=2 queue=default]")


def test_lines_outside_attempts_name_none(place: Place) -> None:
    """Without a running job no field of one is written."""
    place.install("json")
    logging.getLogger("shop").info("idle")
    assert "job" not in json.loads(place.lines()[0])


def test_fields_given_win(place: Place) -> None:
    """A line about another job names that one."""
    place.install("json")
    place.job = Job()
    logging.getLogger("penstock").info("lost", extra={"job": "j2"})
    assert json.loads(place.lines()[0])["job"] == "j2"


def fail(text: str) -> NoReturn:
    """Raise an error with this text."""
    raise ValueError(text)


FORGERIES = ["\n", "\r", "\x1b[2J", "\x00", "\x7f", "\x85", "\x9b31m", "\u2028", "\u202e"]


@pytest.mark.parametrize("sign", FORGERIES, ids=ascii)
@pytest.mark.parametrize("form", ["json", "human"])
@pytest.mark.parametrize("where", ["message", "field", "task", "exception"])
def test_nothing_forges_a_line(place: Place, sign: str, form: str, where: str) -> None:
    """Control characters are written as escapes, wherever they come from."""
    place.install(form)
    text = f"a{sign}FORGED b"
    if where == "task":
        place.job = Job(task=text)
    try:
        fail(text if where == "exception" else "x")
    except ValueError:
        logging.getLogger("user").warning(
            text if where == "message" else "m",
            extra={"field": text} if where == "field" else None,
            exc_info=where == "exception",
        )
    written = place.stream.getvalue()
    raw = sign if sign != "\n" else "\nFORGED"
    assert raw not in written
    assert not any(line.startswith("FORGED") for line in place.lines())


@pytest.mark.parametrize("form", ["json", "human"])
def test_values_are_capped(place: Place, form: str) -> None:
    """A message and a field of a megabyte are cut at 2 KiB, and the cut is marked."""
    place.install(form)
    place.job = Job(task="t" * 1_000_000)
    logging.getLogger("user").warning("m" * 1_000_000)
    [line] = place.lines()
    assert len(line) < 3 * logs.FIELD_BYTES_MAX
    assert "(1000000 bytes)" in line


@pytest.mark.parametrize("form", ["json", "human"])
def test_a_bad_call_costs_no_line(place: Place, form: str) -> None:
    """Arguments that do not fit their message, or cannot be shown, still give a line."""

    class Shy:
        def __str__(self) -> str:
            raise RuntimeError

    place.install(form)
    logging.getLogger("user").warning("%d apples", "three")
    logging.getLogger("user").warning("%s", Shy())
    logging.getLogger("user").warning("\udc80")
    assert len(place.lines()) == 3


def test_a_traceback_is_indented_below_its_line(place: Place) -> None:
    """In the human form no line of a traceback can be taken for a log line."""
    place.install("human")
    try:
        fail("one")
    except ValueError:
        logging.getLogger("user").exception("failed")
    first, *rest = place.lines()
    assert first.endswith("user: failed")
    assert rest
    assert all(line.startswith("    | ") for line in rest)


def test_the_level_is_kept(place: Place) -> None:
    """Lines below the level are not written."""
    place.install("human", level="warning")
    logging.getLogger("user").info("no")
    logging.getLogger("user").warning("yes")
    assert len(place.lines()) == 1
