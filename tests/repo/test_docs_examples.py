"""Every example of the README, the docs and examples/ does what its page says."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import psutil
import pytest

from tests.repo.examples import Example, ExampleError, examples, run, unmarked
from tests.repo.pages import blocks
from tests.repo.repository import ROOT, name, project_files, report


def pages() -> list[tuple[str, str]]:
    """Return (path, text) of every page that users read."""
    found = [ROOT / "README.md", *(f for f in project_files() if f.suffix == ".md")]
    read = ("README.md", "docs/", "examples/")
    shown = {f for f in found if f.is_file() and name(f).startswith(read)}
    return [(name(page), page.read_text()) for page in sorted(shown)]


EXAMPLES = [example for page, text in pages() for example in examples(page, text)]


@pytest.mark.timeout(150)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.page}-{e.name}")
def test_example_does_what_its_page_says(example: Example, tmp_path: Path) -> None:
    """An example runs in an empty folder, or a copy of its own, and prints what its page shows."""
    if example.page.startswith("examples/"):
        folder = (ROOT / example.page).parent
        for file in (f for f in project_files() if f.is_relative_to(folder)):
            copy = tmp_path / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    run(example, tmp_path)


def test_every_runnable_block_is_run() -> None:
    """Each python or console block of the docs is run by the tests, or says why it is not."""
    findings = [f"{page}:{found}" for page, text in pages() for found in unmarked(text)]
    report(findings, "put <!-- run: name --> above it (CONTRIBUTING.md, 'Examples'):")


def test_every_example_folder_has_a_page_that_runs_it() -> None:
    """Each folder below examples/ has a README.md with an example."""
    folders = {
        Path(name(file)).parts[1] for file in project_files() if name(file).startswith("examples/")
    }
    run_by = {Path(e.page).parts[1] for e in EXAMPLES if e.page.startswith("examples/")}
    report(sorted(folders - run_by), "no README.md with <!-- run: name -->:")


def one(text: str) -> Example:
    """Return the only example of a page."""
    [example] = examples("page.md", text)
    return example


GOOD = """
<!-- file: greet/hello.py -->
```python
import sys
print("hello", *sys.argv[1:])
```
<!-- run: greet -->
```console
$ who=you
$ python hello.py $who; python hello.py \\
> again
hello you
hello ...
$ false  # exits 1
$ printf 'one\\ntwo\\nthree\\n'
...
three
```
<!-- run: greet -->
```python
print(open("hello.py").read().count("hello"))
```
<!-- output: greet -->
```text
1
```
"""


def test_a_true_example_passes(tmp_path: Path) -> None:
    """Files, variables, continued lines, statuses and dots work as CONTRIBUTING.md says."""
    run(one(GOOD), tmp_path)


def test_the_rule_is_true(tmp_path: Path) -> None:
    """The example that CONTRIBUTING.md gives of the rule follows the rule."""
    rule = (ROOT / "CONTRIBUTING.md").read_text()
    [shown] = [block.text for block in blocks(rule) if block.language == "markdown"]
    run(one(shown), tmp_path)


SERVED = """
<!-- run: served -->
```console
$ python -c 'import signal, sys, pathlib; {handler}; pathlib.Path("up").touch(); signal.pause()' &
$ until [ -e up ]; do sleep 0.01; done
```
"""


def test_background_command_is_stopped(tmp_path: Path) -> None:
    """A command with & runs beside the next ones and must end cleanly on SIGTERM."""
    clean = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))"
    run(one(SERVED.format(handler=clean)), tmp_path)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (GOOD.replace("hello ...", "goodbye ..."), "printed"),
        (GOOD.replace("# exits 1", "# exits 2"), "ended with 1, not 2"),
        (GOOD.replace("\n1\n", "\n2\n"), "printed"),
        (GOOD.replace("...\nthree", "..."), None),
        (GOOD.replace("hello you", "hello  you"), None),
        (GOOD.replace("hello you", "helloyou"), "printed"),
        (GOOD.replace("...\nthree", "...\ntwo"), "printed"),
        (SERVED.format(handler="0"), "ended with 143, not 0"),
    ],
)
def test_a_false_example_fails(text: str, finding: str | None, tmp_path: Path) -> None:
    """A wrong output, status or background end is reported with what was printed."""
    if finding is None:
        run(one(text), tmp_path)
    else:
        with pytest.raises(ExampleError, match=finding):
            run(one(text), tmp_path)


def test_a_false_example_leaves_no_process(tmp_path: Path) -> None:
    """A process that an example left behind in a session of its own is gone when it is over."""
    left = (
        "setsid sh -c 'echo $$ >pid; exec sleep 600' >/dev/null 2>&1 & until [ -s pid ]; do :; done"
    )
    run(one(f"<!-- run: left -->\n```console\n$ {left}\n```\n"), tmp_path)
    left_behind = int((tmp_path / "pid").read_text())
    # Killed, but perhaps not reaped yet by whoever inherited it.
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(left_behind).status() == psutil.STATUS_ZOMBIE


def test_an_example_has_the_server_that_it_names(tmp_path: Path) -> None:
    """An example that names a Redis server finds an empty one of its own there."""
    asks = """
<!-- run: asks -->
```console
$ redis-cli -u $REDIS_URL DBSIZE
0
$ redis-cli -u $REDIS_URL SET left behind
OK
$ penstock doctor --url $REDIS_URL >/dev/null
```
"""
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        run(one(asks), folder)


def test_unmarked_blocks_are_found() -> None:
    """A runnable block without a marker, or with a reason too short to be one, is found."""
    assert list(unmarked("```python\nx\n```\n")) == ["1 python block"]
    assert list(unmarked("<!-- not-run: no -->\n```console\n$ x\n```\n")) == ["2 console block"]
    assert list(unmarked("<!-- not-run: needs a second machine -->\n```console\n$ x\n```\n")) == []
    assert list(unmarked("```text\nx\n```\n<!-- run: a -->\n```python\nx\n```\n")) == []


def test_malformed_examples_are_refused() -> None:
    """A name with capitals and a console block without a prompt are refused with the place."""
    with pytest.raises(ExampleError, match=r"page\.md:1"):
        one("<!-- run: Bad Name -->\n```python\nx\n```\n")
    with pytest.raises(ExampleError, match="begins with"):
        one("<!-- run: name -->\n```console\nx\n```\n")
