"""scripts/bootstrap on machines that are not ready, and its way through an interrupted run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.repository import ROOT

SCRIPTS = ("bootstrap", "bootstrap.py", "debian-packages")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the scripts with lock files that ask for nothing, so nothing is fetched."""
    root = tmp_path / "checkout"
    (root / "scripts").mkdir(parents=True)
    (root / "requirements").mkdir()
    for script in SCRIPTS:
        shutil.copy(ROOT / "scripts" / script, root / "scripts" / script)
    for lock in ("runtime", "dev", "all", "lock"):
        (root / f"requirements/{lock}.txt").write_text("")
    (root / "pyproject.toml").write_text("")
    return root


def programs(folder: Path, *names: str, **texts: str) -> Path:
    """Return a folder for PATH that holds only these programs, and scripts with these texts."""
    folder.mkdir()
    for program in names:
        found = shutil.which(program)
        assert found, f"{program} is not on PATH"
        (folder / program).symlink_to(found)
    for program, text in texts.items():
        file = folder / program.replace("_", "-")
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    return folder


def bootstrap(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a checkout with its own arguments and environment."""
    base = {k: os.environ[k] for k in ("PATH", "HOME", "TMPDIR") if k in os.environ}
    return subprocess.run(
        ["/bin/sh", root / "scripts/bootstrap", *arguments],
        env={**base, "PENSTOCK_PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_python_the_package_is_named(checkout: Path, tmp_path: Path) -> None:
    """Without a Python and without root, one line to run is printed and the status is 1."""
    path = programs(tmp_path / "bin", "dirname", "sh", id="echo 1000", python3="exit 1")
    done = bootstrap(checkout, "demo", PATH=str(path), PENSTOCK_PYTHON="")
    assert done.returncode == 1
    assert "no Python 3.11 or newer" in done.stderr
    line = "apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv"
    assert f"    sudo sh -c '{line}'" in done.stderr.splitlines()


def test_without_venv_the_package_is_named(checkout: Path, tmp_path: Path) -> None:
    """A Python without ensurepip, as Debian ships it, is named with the package that has it."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError")
    path = programs(tmp_path / "bin", "dirname", "sh", id="echo 1000")
    done = bootstrap(checkout, "demo", PATH=str(path), PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"--no-install-recommends python{version}-venv'" in done.stderr
    assert not (checkout / ".venv").exists()


def test_as_root_the_package_is_installed(checkout: Path, tmp_path: Path) -> None:
    """As root the packages go to apt-get, and what for is said first."""
    record = f'echo "$DEBIAN_FRONTEND $*" >>{tmp_path}/apt'
    path = programs(tmp_path / "bin", "dirname", "sh", "env", id="echo 0", apt_get=record)
    script = checkout / "scripts/debian-packages"
    done = subprocess.run(
        ["/bin/sh", script, "redis-server", "the Redis tests start it"],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith("missing: redis-server (the Redis tests start it)")
    assert (tmp_path / "apt").read_text().splitlines() == [
        "noninteractive update",
        "noninteractive install --yes --no-install-recommends redis-server",
    ]


def test_a_wrong_python_is_refused(checkout: Path) -> None:
    """A named Python that does not start is refused, with the way out."""
    done = bootstrap(checkout, "demo", PENSTOCK_PYTHON="/bin/false")
    assert done.returncode == 1
    assert "PENSTOCK_PYTHON=/bin/false" in done.stderr
    assert "unset it" in done.stderr


def test_the_life_of_an_environment(checkout: Path) -> None:
    """It is made once, left alone, mended after a failure, and made anew where it was moved to.

    One test, because each environment that is made costs seconds.
    """
    lock = checkout / "requirements/lock.txt"
    stamp = checkout / ".cache/lock/penstock-stamp.json"
    installed = "bootstrap: install requirements/lock.txt into .cache/lock"
    assert bootstrap(checkout, "lock").stderr.splitlines()[0].startswith("bootstrap: create")

    idle = bootstrap(checkout, "lock")
    assert (idle.returncode, idle.stdout, idle.stderr) == (0, "", "")

    lock.write_text("rich\n")  # no hash: pip refuses it before it asks any index
    failed = bootstrap(checkout, "lock")
    assert failed.returncode != 0
    assert "run it again once that is mended" in failed.stderr

    lock.write_text("")
    mended = bootstrap(checkout, "lock")
    assert (mended.returncode, mended.stderr.splitlines()[0]) == (0, installed)

    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "venv": "/elsewhere"}))
    assert bootstrap(checkout, "lock").stderr.splitlines()[0].startswith("bootstrap: create")
