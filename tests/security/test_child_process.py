"""What a job in a child can get hold of: neither credentials nor other users' files (SEC27)."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from penstock.core.secret import KEY_BYTES, key_text
from tests.security import nosy_app
from tests.support.eventually import eventually
from tests.support.supervised import SOON_S, Supervised

KEY = key_text("k1", b"\x5a" * KEY_BYTES)
#: In the broker's URL and nowhere else.
WORD = "canary-in-the-url"


def without_privileges() -> tuple[str, ...]:
    """Return what takes the power over other users' processes away from root, who has it all."""
    if os.geteuid() != 0:
        return ()
    program = shutil.which("setpriv")
    assert program is not None, "setpriv is missing: it is in util-linux"
    return (program, "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture
def site(tmp_path: Path) -> Supervised:
    """A worker that knows a key and a URL with a word in it."""
    (tmp_path / WORD).mkdir()
    url = f"sqlite:///{tmp_path / WORD / 'penstock.db'}"
    return Supervised(tmp_path, url=url, secret_keys=KEY)


def test_a_job_finds_no_credentials(site: Supervised) -> None:
    """Its environment, its descriptors, its supervisor and its runners tell it nothing."""
    with site:
        site.under = without_privileges()
        worker = site.start(app="tests.security.nosy_app:app")
        site.wait_health(worker, lambda health: health.ready, "it to be ready")
        (record,) = site.wait_final(*site.enqueue(nosy_app.look_around.call()))
        seen = msgspec.json.decode(record.result or b"{}", type=dict[str, str])
    assert {"supervisor environ", "runner environ", "runner cmdline", "runner mem"} <= set(seen)
    for what, text in seen.items():
        assert KEY not in text, what
        assert WORD not in text, what
        if what.endswith((" environ", " mem")):
            assert text == "refused: Permission denied", what
    open_files = {text for what, text in seen.items() if what.startswith("descriptor")}
    assert not any(text.endswith((".db", "-wal", "-shm")) for text in open_files), open_files
    # The channel to its supervisor, and the pair with which its event loop wakes itself.
    assert sum(text.startswith("socket:") for text in open_files) == 3, open_files


def test_temporary_files_are_closed_to_others_and_go_with_their_child(site: Supervised) -> None:
    """They stand in a folder that no other user can open, and are gone with the child."""
    with site:
        worker = site.start(app="tests.security.nosy_app:app")
        records = site.wait_final(*site.enqueue(*[nosy_app.leave_file.call()] * 2))
        left = [
            msgspec.json.decode(one.result or b"", type=tuple[str, str, str]) for one in records
        ]
        for name, folder, file in left:
            assert Path(name).is_file()
            assert (folder, file) == ("drwx------", "-rw-------")
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(SOON_S) == 0, worker.report()
        for name, _, _ in left:
            assert not Path(name).parent.exists(), name


def test_a_killed_child_leaves_no_files(site: Supervised) -> None:
    """What a child had among its temporary files goes even where it was killed."""
    with site:
        worker = site.start(app="tests.security.nosy_app:app")
        (record,) = site.wait_final(*site.enqueue(nosy_app.leave_file.call()))
        [name, *_] = msgspec.json.decode(record.result or b"", type=tuple[str, str, str])
        pid = record.attempts[0].pid
        assert pid != worker.pid
        os.kill(pid, signal.SIGKILL)
        # A dead child is found when the next job wants one.
        site.wait_final(*site.enqueue(nosy_app.leave_file.call()))
        eventually(lambda: not Path(name).exists(), within_s=SOON_S, what="its files to be gone")
