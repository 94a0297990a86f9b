"""Where the password of a broker URL could be shown: in what a failed command prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import penstock


@pytest.mark.parametrize(
    "words",
    [
        "--url postgresql://u:secret@h/x jobs",
        "--url redis:/u:secret@h/x jobs",
        "--url u:secret@h/x jobs",
        "--url redis://u:[secret@h/x jobs",
        "--url redis://u:secret/x@h/x jobs",
        "--url sqlite://u:secret@[h/x jobs",
        "postgresql://u:secret@h/x jobs",
        "jobs u:secret@h/x",
    ],
)
def test_no_error_shows_a_password(tmp_path: Path, words: str) -> None:
    """A URL in any place of a failed call, well-formed or not, is printed without its password."""
    for more in ((), ("--json",)):
        ended = penstock(*words.split(), *more, folder=tmp_path)
        assert ended.code in {2, 69}, ended
        assert "secret" not in ended.out + ended.err
        assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ('{"user":"a","token":"hunter2"',),
        ("{token:hunter2}",),
        ('"hunter2"',),
        ("hunter2",),
        ("--arg", "hunter2"),
        ("--arg", 'token="hunter2'),
        ("--arg", "to-ken=hunter2"),
    ],
)
def test_mistyped_arguments_are_not_repeated(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What is wrong with arguments, and where, is told without any of their text."""
    (tmp_path / "shop.py").write_text(_SHOP)
    for more in ((), ("--json",), ("--debug",)):
        ended = penstock("enqueue", "shop", "shop.use", *words, *more, folder=tmp_path)
        assert ended.code == 2, ended
        assert "hunter2" not in ended.out + ended.err
        assert any(word in ended.err for word in ("not JSON", "neither an", "--arg name=value"))


_SHOP = """
from penstock import App, Secret

app = App()

@app.task
def use(token: Secret[str], user: str = "") -> None: ...
"""


def test_no_error_shows_the_password_of_a_connection_string(tmp_path: Path) -> None:
    """What libpq takes is no URL; its password is masked all the same, also out of place."""
    text = "host=127.0.0.1 password=secret"
    for words in (("--url", text, "jobs"), ("config", "--url", text), ("jobs", text)):
        ended = penstock(*words, folder=tmp_path)
        assert "secret" not in (ended.out + ended.err).replace("secret_keys", ""), ended
        assert "password=***" in ended.out + ended.err, ended


def test_a_message_begins_with_the_name_of_the_command(tmp_path: Path) -> None:
    """The name before the message is that of the command, wherever the options stand."""
    for words in ("--url nothing://h/x jobs", "jobs --url nothing://h/x"):
        assert penstock(*words.split(), folder=tmp_path).err.startswith("penstock jobs: broker URL")
    assert penstock("jbos", folder=tmp_path).err.startswith("penstock: No such command 'jbos'")
