"""A user's module that cannot be imported: `enqueue` and `worker` say the same about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import penstock

#: What stands above each flaw: three lines, so that the flaw stands in line 4.
HEAD = """from penstock import App
import sys
app = App()
"""


@pytest.mark.parametrize(
    ("flaw", "error"),
    [
        ("sys.exit(4)", "SystemExit: 4"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("app.task(retries=-1)", "BadSetting: retries -1 is not allowed"),
        ('app.task(timeout="soon")', "BadSetting: timeout 'soon' is not a duration"),
        ("app.task(int)", "BadSetting: <class 'int'> is not a function"),
        (
            "f = lambda: 1; app.task(f, name='a'); app.task(f, name='a')",
            "BadSetting: task name 'a'",
        ),
    ],
)
def test_a_flaw_in_a_users_module_is_told_with_its_line(
    tmp_path: Path, flaw: str, error: str
) -> None:
    """The command ends with 2 and one line that names the error, the user's file and the line."""
    module = tmp_path / "shop.py"
    module.write_text(f"{HEAD}{flaw}\n")
    told = []
    for words in ("enqueue shop shop.add", "worker shop --burst"):
        ended = penstock(*words.split(), folder=tmp_path)
        assert (ended.code, ended.out) == (2, ""), ended
        command, _, message = ended.err.partition(": ")
        assert command == f"penstock {words.split()[0]}"
        told.append(message)
    assert told[0] == told[1]
    assert told[0].startswith(f"app 'shop:app' cannot be imported: {error}")
    assert f" ({module}, line 4); mend the module;" in told[0]
    assert told[0].count(", line ") == 1
    assert len(told[0].splitlines()) == 1


def test_a_flaw_in_an_included_module_is_told_alike(tmp_path: Path) -> None:
    """A module that the app includes is told with its own file and line, by both commands."""
    (tmp_path / "shop.py").write_text("from penstock import App\napp = App(include=['parts'])\n")
    (tmp_path / "parts.py").write_text("\nraise SystemExit\n")
    for words in ("enqueue shop shop.add", "worker shop --burst"):
        ended = penstock(*words.split(), folder=tmp_path)
        assert ended.code == 2, ended
        assert f"cannot be imported: SystemExit: ({tmp_path}/parts.py, line 2)" in ended.err
