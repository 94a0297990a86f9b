"""What is wrong with a text on the command line: each cause under its own name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import PENSTOCK, environment, penstock

APP = """
from penstock import App

app = App()

@app.task
def show(*texts: object, path: str = "") -> None:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app and a database."""
    (tmp_path / "shop.py").write_text(APP)
    assert penstock("enqueue", "shop", "shop.show", folder=tmp_path).code == 0
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([b"jobs", b"--queue", b"\xff"], r"--queue '\udcff' is not allowed"),
        ([b"jobs", b"--url", b"sqlite:///\xff"], r"--url 'sqlite:///\udcff' is not allowed"),
        ([b"job", b"\xff"], r"ID '\udcff' is not allowed"),
        ([b"enqueue", b"shop", b"shop.show", b'["\xff"]'], r"""JSON '["\udcff"]' is not allowed"""),
        (
            [b"enqueue", b"shop", b"shop.show", b"--arg", b"path=\xff"],
            r"--arg 'path=\udcff' is not allowed",
        ),
        ([b"worker", b"shop", b"--log-file", b"\xff"], r"--log-file '\udcff' is not allowed"),
    ],
)
def test_bytes_that_are_no_text_are_refused(folder: Path, words: list[bytes], told: str) -> None:
    """A word that is not UTF-8 ends any command with 2, the word escaped, and what to do."""
    ended = subprocess.run(
        [PENSTOCK.encode(), *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert told in ended.stderr.decode()
    assert b"write it in UTF-8" in ended.stderr


@pytest.mark.parametrize(
    ("text", "told", "is_unquoted"),
    [
        ("[" * 5_000, "arguments is nested deeper than 64 levels", False),
        ("[" * 65 + "]" * 65, "arguments is nested deeper than 64 levels", False),
        (r'["\ud800"]', "half of a surrogate pair", False),
        ('["[', "Unterminated string", False),
        ("[1,", "Expecting value", False),
        ("1e400", "Number out of range", False),
        ('{"a": 1,}', "is not JSON", False),
        ("{a:1}", "is not JSON", True),
        ("[abc]", "is not JSON", True),
        ("abc", "is not JSON", True),
    ],
)
def test_json_that_cannot_be_read_is_told_by_its_cause(
    folder: Path, text: str, told: str, *, is_unquoted: bool
) -> None:
    """The message names what is wrong; it speaks of quotes only where quotes are missing."""
    ended = penstock("enqueue", "shop", "shop.show", text, folder=folder)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert ("quote it for the shell" in ended.err) == is_unquoted
    assert len(ended.err) < 500


def test_a_duration_is_taken_as_its_message_says(folder: Path) -> None:
    """Seconds without a unit are taken by every flag; what is refused is told in fitting words."""
    words = ["enqueue", "shop", "shop.show"]
    for flag in ("--timeout", "--delay", "--expires"):
        assert penstock(*words, flag, "30", folder=folder).code == 0
        negative = penstock(*words, flag, "-5s", folder=folder)
        assert (negative.code, "must not be negative" in negative.err) == (2, True)
        wrong = penstock(*words, flag, "foo", folder=folder)
        assert f"{flag} 'foo' is not a duration: give seconds, or text such as '30s'" in wrong.err
    setting = penstock("config", folder=folder, env={"PENSTOCK_TIMEOUT": "foo"})
    assert "setting timeout from PENSTOCK_TIMEOUT: 'foo' is not a duration" in setting.err
    long = penstock("config", folder=folder, env={"PENSTOCK_TIMEOUT": "x" * 5_000})
    assert len(long.err) < 400


def test_a_timeout_without_wait_is_refused(folder: Path) -> None:
    """`penstock job --timeout` does nothing without --wait, and says so."""
    ended = penstock("job", "--timeout", "1s", "0" * 32, folder=folder)
    assert (ended.code, "--timeout '1s' without --wait" in ended.err) == (2, True)
