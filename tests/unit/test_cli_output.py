"""How the command line writes values for people."""

from __future__ import annotations

import io
import json

import msgspec
import pytest

from penstock.cli.commands.job import fields
from penstock.cli.output import Column, Output, printable
from penstock.cli.sizes import size
from penstock.cli.times import instant, span
from penstock.core.ids import JobId
from penstock.core.job import AttemptRecord, Charges, JobRecord, JobSpec
from penstock.core.lifecycle import State
from penstock.core.usage import Usage


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0.00 s"),
        (420, "0.42 s"),
        (9_999, "10.00 s"),
        (10_000, "10 s"),
        (65_000, "1 min 5 s"),
        (3_600_000, "1 h"),
        (3_661_000, "1 h 1 min"),
        (86_400_000 * 3 + 3_600_000 * 4 + 59_000, "3 d 4 h"),
        (-1_500, "-1.50 s"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(ms: int, text: str) -> None:
    """Short spans have a fraction, long ones two units, and a unit of zero is left out."""
    assert span(ms) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (851_443_712, "812 MiB"),
        (2**30 - 1, "1 GiB"),
        (1_181_116_006, "1.1 GiB"),
        (10 * 2**30, "10 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_a_size_is_told_in_its_largest_unit(size_bytes: int, text: str) -> None:
    """Small numbers have a fraction, and none is written with more than four digits."""
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("usage", "lines"),
    [
        (Usage(), []),
        (Usage(peak_bytes=2**20), ["peak 1 MiB"]),
        (Usage(reserved_bytes=2**20, cpu_ms=40), ["1 MiB reserved, cpu 0.04 s"]),
        (Usage(cpu_ms=40, measured="hwm"), ["(by hwm), cpu 0.04 s"]),
        (Usage(evidence="oom_kill 1"), ["out of memory: oom_kill 1"]),
        (
            Usage(
                peak_bytes=812 * 2**20,
                baseline_bytes=40 * 2**20,
                reserved_bytes=2**30,
                limit_bytes=1_181_116_006,
                measured="hwm",
                cpu_ms=3_200,
            ),
            ["peak 812 MiB of 1 GiB reserved (baseline 40 MiB, limit 1.1 GiB, by hwm), cpu 3.20 s"],
        ),
    ],
)
def test_an_attempt_tells_what_it_took(usage: Usage, lines: list[str]) -> None:
    """What is known stands in one line below the attempt, evidence in one of its own."""
    record = JobRecord(
        id=JobId(""),
        queue="q",
        spec=JobSpec(task="t", payload=msgspec.Raw(b"{}")),
        state=State.COMPLETED,
        enqueued_at=0,
        claim_number=1,
        attempts=(AttemptRecord(1, "w", 7, 0, 9, "succeeded", usage=usage),),
    )
    assert dict(fields(record))["attempt 1"].splitlines()[1:] == lines


def test_an_instant_is_utc_with_milliseconds() -> None:
    """An instant is written as a date that sorts; None is a dash."""
    assert instant(1_700_000_000_123) == "2023-11-14 22:13:20.123Z"
    assert instant(None) == "-"


def test_control_characters_are_shown_and_not_sent() -> None:
    """Escape sequences, line ends and odd blanks of a job's text cannot drive a terminal."""
    assert printable("plain äöü 漢字\tok") == "plain äöü 漢字\tok"
    assert printable("a\x1b[2Jb\r\n\x07\u2028\x9b1m") == "a\\x1b[2Jb\\r\\n\\x07\\u2028\\x9b1m"
    assert printable("\udcff") == "\\udcff"


def test_json_is_one_line_and_remarks_are_silent() -> None:
    """In JSON mode stdout has the document alone, and remarks and progress say nothing."""
    out, err = io.StringIO(), io.StringIO()
    output = Output(as_json=True, stdout=out, stderr=err)
    output.note("remark")
    output.progress("half")
    output.document({"a": [1, None], "text": "ä\n"})
    assert json.loads(out.getvalue()) == {"a": [1, None], "text": "ä\n"}
    assert out.getvalue().count("\n") == 1
    assert err.getvalue() == ""


def test_fields_are_aligned_and_keep_their_lines() -> None:
    """Names are padded to the longest; further lines of a value stand below its first."""
    out = io.StringIO()
    Output(as_json=False, stdout=out).fields([("id", "7"), ("longer", "one\ntwo"), ("none", "")])
    assert out.getvalue() == "id      7\nlonger  one\n        two\nnone\n"


def test_a_table_outside_a_terminal_is_never_cut() -> None:
    """Cells of any length stand in one line each, without blanks at the ends of lines."""
    out = io.StringIO()
    Output(as_json=False, stdout=out).table(
        [Column("id", whole=True), Column("error")], [["a", "word " * 500 + "end"], ["b", ""]]
    )
    header, long, short = out.getvalue().splitlines()
    assert header == "id    error"
    assert long.startswith("a     word word")
    assert long.endswith("word end")
    assert short == "b"


def test_a_job_is_told_in_the_number_of_its_charges() -> None:
    """One error is no plural, and a final job has no next attempt to speak of."""
    charges = Charges(errors=1, crashes=1, crashed_at=0, suspect=True)
    spec = JobSpec(task="shop.add", payload=msgspec.Raw(b"[[],{}]"))
    waiting = JobRecord(
        id=JobId("0" * 32),
        queue="q",
        spec=spec,
        state=State.QUEUED,
        enqueued_at=0,
        charges=charges,
    )
    dead = msgspec.structs.replace(waiting, state=State.DEAD, finished_at=1)
    told = [dict(fields(record))["charged"] for record in (waiting, dead)]
    assert told == [
        "1 error, 1 crash, suspect: its next attempt runs alone in a child",
        "1 error, 1 crash",
    ]
