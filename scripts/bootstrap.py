"""Make `.venv` hold exactly the locked packages of one set, and Penstock itself.

Started by `scripts/bootstrap`, with nothing but the standard library. Two steps: the lock file
with its hashes, then the project without dependencies and without build isolation (hatchling
and editables are in the lock). A stamp in the environment says what was installed; it is taken
away before a step and written after it, so an interrupted run is done again.
"""

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent

#: What is installed, in the environment itself, so that removing it removes the claim.
STAMP = "penstock-stamp.json"

#: The version that a new environment gets, for example "3.11".
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"

#: Set -> (lock file, sets that it contains). `lock` is apart: it never meets the project.
SETS = {
    "demo": ("requirements/runtime.txt", ("demo",)),
    "dev": ("requirements/dev.txt", ("demo", "dev")),
    "all": ("requirements/all.txt", ("demo", "all")),
    "lock": ("requirements/lock.txt", ("lock",)),
}


def main() -> int:
    """Bring the environment up to date; print one line for each step taken."""
    parser = argparse.ArgumentParser(prog="scripts/bootstrap", description=__doc__)
    parser.add_argument("set", nargs="?", choices=SETS, default="dev")
    parser.add_argument("--venv", type=Path, help="where (default: .venv)")
    parser.add_argument("--fresh", action="store_true", help="remove the environment first")
    options = parser.parse_args()
    venv = options.venv or ROOT / (".cache/lock" if options.set == "lock" else ".venv")
    venv = Path.cwd() / venv
    if not options.fresh and missing_steps(venv, options.set) == []:
        return 0
    with exclusive(venv):
        if options.fresh or not usable(venv):
            create(venv)
        for step in missing_steps(venv, options.set):
            take(step, venv, options.set)
    return 0


def digest(*names: str) -> str:
    """Return one hash over the named files of the repository."""
    return hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def wanted(chosen: str) -> dict[str, str]:
    """Return step -> what its stamp must say for the environment to be up to date."""
    lock = digest(SETS[chosen][0])
    if chosen == "lock":
        return {"lock:lock": lock}
    return {f"lock:{chosen}": lock, "project": f"{digest('pyproject.toml')} {ROOT}"}


def read_stamp(venv: Path) -> dict[str, str]:
    """Return what was installed; empty when nothing is known."""
    try:
        stamp = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and stamp.get("venv") == str(venv) else {}


def write_stamp(venv: Path, stamp: dict[str, str]) -> None:
    """Replace the stamp in one rename, so that a reader never sees half of it."""
    scratch = venv / f"{STAMP}.{os.getpid()}"
    scratch.write_text(json.dumps({**stamp, "venv": str(venv)}))
    scratch.replace(venv / STAMP)


def missing_steps(venv: Path, chosen: str) -> list[str]:
    """Return the steps whose stamp is absent or older than the files."""
    if not (venv / "bin/python").exists():
        return list(wanted(chosen))
    stamp = read_stamp(venv)
    larger = [name for name, (_, holds) in SETS.items() if chosen in holds]
    if any(stamp.get(f"lock:{name}") == wanted(name)[f"lock:{name}"] for name in larger):
        stamp[f"lock:{chosen}"] = wanted(chosen)[f"lock:{chosen}"]
    return [step for step, value in wanted(chosen).items() if stamp.get(step) != value]


def usable(venv: Path) -> bool:
    """Tell whether the environment stands where it was made, with a pip that starts."""
    made_by = read_stamp(venv).get("python")
    if made_by is None or ("PENSTOCK_PYTHON" in os.environ and made_by != RUNNING):
        return False
    check: list[Path | str] = [venv / "bin/python", "-m", "pip", "--version"]
    return subprocess.run(check, capture_output=True, check=False).returncode == 0


@contextmanager
def exclusive(venv: Path) -> Iterator[None]:
    """Keep two runs on one environment apart; the second waits."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / f"{venv.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def create(venv: Path) -> None:
    """Make an empty environment with the base interpreter of the running Python."""
    # The running Python may stand inside the environment that is about to go.
    base = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    has_pip: list[Path | str] = [base, "-c", "import venv, ensurepip"]
    if subprocess.run(has_pip, capture_output=True, check=False).returncode != 0:
        reason = f"{base} has no venv with pip, which Debian keeps in a package of its own"
        package = f"python{RUNNING}-venv"
        run(f"install {package}", [ROOT / "scripts/debian-packages", package, reason])
    # The stamp goes first: half an environment with a stamp would pass for a whole one.
    (venv / STAMP).unlink(missing_ok=True)
    shutil.rmtree(venv, ignore_errors=True)
    run(f"create {shown(venv)} with {base}", [base, "-m", "venv", venv])
    write_stamp(venv, {"python": RUNNING})


def take(step: str, venv: Path, chosen: str) -> None:
    """Take one step; its stamp is away while it runs."""
    stamp = read_stamp(venv)
    stamp.pop(step, None)
    write_stamp(venv, stamp)
    pip: list[Path | str] = [venv / "bin/python", "-m", "pip", "install"]
    pip += ["--quiet", "--disable-pip-version-check"]
    if step.startswith("lock:"):
        lock = SETS[chosen][0]
        run(f"install {lock} into {shown(venv)}", [*pip, "--require-hashes", "-r", lock])
    else:
        project = ["--no-deps", "--no-build-isolation", "--editable", "."]
        run(f"install penstock into {shown(venv)}", [*pip, *project])
    write_stamp(venv, {**stamp, step: wanted(chosen)[step]})


def run(title: str, command: Sequence[Path | str]) -> None:
    """Run one command in the repository, or stop with what failed and what to do."""
    print(f"bootstrap: {title}", file=sys.stderr, flush=True)
    # A virtual environment around this call must not leak into the one being made.
    env = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if status != 0:
        fail(f"'{' '.join(map(str, command))}' ended with status {status}", status)


def shown(path: Path) -> str:
    """Return a path as short as a reader needs it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def fail(what: str, status: int) -> NoReturn:
    """Stop; the stamp is absent, so the next run starts where this one stopped."""
    print(f"bootstrap: {what}; run it again once that is mended", file=sys.stderr)
    sys.exit(status if 0 < status < 256 else 1)  # noqa: PLR2004 - the range of an exit status


if __name__ == "__main__":
    sys.exit(main())
