"""Run the examples of a page as a reader would: in an empty folder, with real processes.

The rule that pages follow stands in CONTRIBUTING.md, "Examples". All blocks of one example become
one bash script, so that a variable set in one command is there in the next and a worker started
with `&` serves the commands after it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.repo.pages import Block, blocks
from tests.support.postgres_server import fresh_database
from tests.support.redis_server import redis_server

#: Seconds for one example; a reader who waits longer wonders whether it hangs.
EXAMPLE_TIMEOUT_S = 100

#: Seconds in which a killed process must be gone.
KILL_TIMEOUT_S = 10

#: Variable that every process of an example inherits, so that the last of them can be found.
MARK = "DOCS_EXAMPLE_FOLDER"

#: Languages whose blocks a reader would copy and run.
RUNNABLE = ("python", "console")

_NAME = re.compile(r"^[a-z0-9]+(?:-[a-z0-9]+)*$")
_EXITS = re.compile(r"\s+# exits (?P<status>\d+)$")


class ExampleError(AssertionError):
    """An example is written wrongly, or does not do what its page says."""


@dataclass
class Step:
    """One command of an example and what the page says of it.

    Attributes:
        line: line of the page where it stands.
        command: bash text.
        status: exit status that the page promises.
        background: started with `&`, and stopped when the example is over.
        expected: output that the page shows; None when it shows none.
    """

    line: int
    command: str
    status: int = 0
    background: bool = False
    expected: str | None = None


@dataclass
class Example:
    """All blocks of one name on one page.

    Attributes:
        page: path of the page from the root of the repository.
        name: what stands in `<!-- run: name -->`.
        files: file name -> text, written before the first command.
        steps: the commands in order.
    """

    page: str
    name: str
    files: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def examples(page: str, text: str) -> Iterator[Example]:
    """Yield the examples of one page in the order in which they begin."""
    found: dict[str, Example] = {}
    for block in blocks(text):
        word, value = block.comment or ("", "")
        if word not in {"run", "file", "output"}:
            continue
        name, _, file = value.partition("/")
        if not _NAME.match(name):
            raise ExampleError(f"{page}:{block.line - 1} '{value}': use lower case and dashes")
        example = found.setdefault(name, Example(page, name))
        if word == "file":
            example.files[file] = block.text
        elif word == "output":
            example.steps[-1].expected = block.text
        elif block.language == "python":
            script = f"{name.replace('-', '_')}_{len(example.files) + 1}.py"
            example.files[script] = block.text
            example.steps.append(Step(block.line, f"python {script}"))
        else:
            example.steps += commands(block)
    return iter(found.values())


def commands(block: Block) -> list[Step]:
    """Return the commands of a console block, each with the output shown below it."""
    steps: list[Step] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif line.startswith("> ") and steps and steps[-1].expected is None:
            steps[-1].command += f"\n{line[2:]}"
        elif steps:
            steps[-1].expected = (steps[-1].expected or "") + f"{line}\n"
        else:
            raise ExampleError(f"line {number}: a console block begins with '$ command'")
    for step in steps:
        if exits := _EXITS.search(step.command):
            step.status = int(exits["status"])
            step.command = step.command[: exits.start()]
        if step.command.endswith(" &"):
            step.background = True
            step.command = step.command[:-2]
    return steps


def unmarked(text: str) -> Iterator[str]:
    """Yield each runnable block of a page that nobody runs and nobody says why."""
    for block in blocks(text):
        word, value = block.comment or ("", "")
        if block.language not in RUNNABLE or word in {"run", "file", "output"}:
            continue
        if word != "not-run" or len(value.split()) < len(("say", "why", "not")):
            yield f"{block.line} {block.language} block"


def run(example: Example, folder: Path) -> None:
    """Run one example in a folder of its own.

    Raises:
        ExampleError: a command ended otherwise or printed something else than the page says, a
            background command did not stop cleanly, or the whole took too long. Every process of
            the example is gone when this returns or raises.
    """
    for path, text in example.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    logs = folder / ".example"
    logs.mkdir()
    (logs / "script").write_text(script(example, logs))
    # Short, because the path of a socket has 107 bytes; its own, so that no other worker is seen.
    with TemporaryDirectory(prefix="docs-") as runtime, stores(example) as variables:
        run_script(example, folder, logs, environment(folder, Path(runtime)) | variables)
    for number, step in enumerate(example.steps):
        check(example, step, logs, number)


def run_script(example: Example, folder: Path, logs: Path, env: dict[str, str]) -> None:
    """Run the script of an example to its end, and end what it leaves behind."""
    command = ["bash", str(logs / "script")]
    with subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL) as shell:
        try:
            shell.wait(EXAMPLE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            outputs = sorted(path for path in logs.glob("*.out"))
            seen = "".join(f"\n--- {path.name}\n{path.read_text()}" for path in outputs)
            raise ExampleError(
                f"{where(example)} took longer than {EXAMPLE_TIMEOUT_S} s; it printed:{seen}"
            ) from None
        finally:
            end_processes(folder)


def script(example: Example, logs: Path) -> str:
    """Return the bash script of an example; each step leaves NUMBER.out and NUMBER.status."""
    lines = ["declare -A pids"]
    for number, step in enumerate(example.steps):
        out, status = (shlex.quote(str(logs / f"{number}.{kind}")) for kind in ("out", "status"))
        if step.background:
            lines += [f"{step.command} >{out} 2>&1 &", f"pids[{number}]=$!"]
        else:
            lines += [f"{{ {step.command}\n}} >{out} 2>&1", f"echo $? >{status}"]
    for number, step in reversed(list(enumerate(example.steps))):
        if step.background:
            status = shlex.quote(str(logs / f"{number}.status"))
            stop = f"kill -TERM ${{pids[{number}]}} 2>/dev/null; wait ${{pids[{number}]}}"
            lines.append(f"{stop}; echo $? >{status}")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def empty_redis() -> Iterator[str]:
    """Run a Redis server, set as the shipped settings file says, and yield its URL."""
    # Without a bound of memory `penstock doctor` finds a problem.
    bound = ("--maxmemory", "1gb")
    with TemporaryDirectory(prefix="docs-") as data, redis_server(Path(data), *bound) as running:
        yield running.url


#: Variable that an example may name -> what puts the URL of an empty store of its own into it.
STORES: dict[str, Callable[[], contextlib.AbstractContextManager[str]]] = {
    "DATABASE_URL": fresh_database,
    "REDIS_URL": empty_redis,
}


@contextlib.contextmanager
def stores(example: Example) -> Iterator[dict[str, str]]:
    """Give an example the stores that it names, as variables with their URLs."""
    text = "\n".join([*example.files.values(), *(step.command for step in example.steps)])
    with contextlib.ExitStack() as opened:
        yield {name: opened.enter_context(STORES[name]()) for name in STORES if name in text}


def environment(folder: Path, runtime: Path) -> dict[str, str]:
    """Return the environment of a reader who has just installed Penstock.

    Args:
        folder: where the example runs; also the home.
        runtime: where its processes put their sockets.
    """
    kept = {k: v for k, v in os.environ.items() if k in {"LD_LIBRARY_PATH", "TZ"}}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {
        MARK: str(folder),
        "COLUMNS": "100",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": programs,
        "PYTHONDONTWRITEBYTECODE": "1",
        "TERM": "dumb",
        "XDG_RUNTIME_DIR": str(runtime),
    }


def end_processes(folder: Path) -> None:
    """Kill what is left of an example, whoever its parent or session is by now."""
    deadline = time.monotonic() + KILL_TIMEOUT_S
    # Race: a process may fork between the look and the kill, so look until nothing is left.
    while left := processes(folder):
        if time.monotonic() > deadline:
            raise ExampleError(f"cannot kill {left}")
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)


def processes(folder: Path) -> list[psutil.Process]:
    """Return the live processes of an example; a zombie has no environment any more."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get(MARK) == str(folder):
                found.append(process)
    return found


def check(example: Example, step: Step, logs: Path, number: int) -> None:
    """Hold one step against what the page says of it."""
    output = (logs / f"{number}.out").read_text() if (logs / f"{number}.out").exists() else ""
    status = (logs / f"{number}.status").read_text().strip()
    what = f"{where(example, step)} `{step.command}`"
    if status != str(step.status):
        raise ExampleError(f"{what} ended with {status}, not {step.status}; it printed:\n{output}")
    if step.expected is not None and not shows(step.expected, output):
        raise ExampleError(f"{what} printed:\n{output}\nbut the page shows:\n{step.expected}")


def shows(expected: str, output: str) -> bool:
    """Tell whether an output is what a page shows.

    `...` stands for anything, within a line or for whole lines. Spaces between columns count as
    one: the widths depend on values that the page does not show.
    """
    expected, output = (re.sub(r" {2,}", " ", text) for text in (expected, output))
    lines = expected.rstrip().splitlines()
    pattern = ""
    for number, line in enumerate(lines):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?" if number + 1 < len(lines) else r"(?:.*\n?)*"
        else:
            pattern += ".*".join(re.escape(part.rstrip()) for part in line.split("...")) + r"[ ]*\n"
    return re.fullmatch(pattern, output.rstrip() + "\n") is not None


def where(example: Example, step: Step | None = None) -> str:
    """Return the place of an example, or of one step of it, for a message."""
    return f"{example.page}{f':{step.line}' if step else ''} ({example.name})"
