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


def test_a_message_begins_with_the_name_of_the_command(tmp_path: Path) -> None:
    """The name before the message is that of the command, wherever the options stand."""
    for words in ("--url nothing://h/x jobs", "jobs --url nothing://h/x"):
        assert penstock(*words.split(), folder=tmp_path).err.startswith("penstock jobs: broker URL")
    assert penstock("jbos", folder=tmp_path).err.startswith("penstock: No such command 'jbos'")
