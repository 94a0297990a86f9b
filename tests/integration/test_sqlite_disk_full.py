"""A full disk: calls are refused definitely, nothing accepted is lost, and room is all it takes."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from penstock.broker import requests as r
from penstock.core.settlement import Applied
from penstock.errors import Unavailable
from tests.support.sqlite_actor import Actor, completions
from tests.support.sqlite_file import check_whole, job_ids

#: Bytes of the small disk, and of the largest file where the limit is one of files.
ROOM_BYTES = 24 * 2**20
#: Bytes that are given back in the end; the log alone may need as much as the file.
SPARE_BYTES = 10 * 2**20
#: Bytes of one payload; some hundred and forty fill the disk.
PAYLOAD_BYTES = 100_000
#: Calls until the disk must have been full.
CALLS_MAX = 500

Room = tuple[Path, Callable[[], object]]
"""(folder, what makes room again)."""


@contextmanager
def small_disk(folder: Path) -> Iterator[Room]:
    """Mount a file system of 24 MiB."""
    options = ["-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True)
    spare = folder / "spare"
    try:
        spare.write_bytes(b"\0" * SPARE_BYTES)
        yield folder, spare.unlink
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_files(folder: Path) -> Iterator[Room]:
    """Let no file of this process grow past 14 MiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES - SPARE_BYTES, hard))
    try:
        yield folder, make_room
    finally:
        make_room()


#: Mounting needs root; the limit of files is there for everybody.
ROOMS = [small_files, small_disk] if os.geteuid() == 0 else [small_files]


def fill(actor: Actor) -> list[str]:
    """Enqueue until the disk is full; return what was accepted."""
    accepted: list[str] = []
    for _ in range(CALLS_MAX):
        request = actor.request()
        payload = msgspec.Raw(b'"%s"' % (b"x" * PAYLOAD_BYTES))
        request = msgspec.structs.replace(
            request, spec=msgspec.structs.replace(request.spec, payload=payload)
        )
        try:
            (answer,) = actor.broker.enqueue([request])
        except Unavailable as error:
            refusal = str(error)
            break
        assert isinstance(answer, r.Accepted)
        accepted.append(answer.id)
    else:
        pytest.fail(f"{CALLS_MAX} calls, and the disk was never full")
    assert "full: make room, and call again" in refusal
    assert "nothing was written" in refusal
    return accepted


@pytest.mark.parametrize("durability", [r.Durability.LOCAL, r.Durability.FSYNC])
@pytest.mark.parametrize("room", ROOMS)
def test_a_full_disk_refuses_and_recovers(
    tmp_path: Path,
    room: Callable[[Path], Iterator[Room]],
    durability: r.Durability,
) -> None:
    """Accepted jobs are there, running ones finish once there is room, and enqueue goes on."""
    with room(tmp_path) as (folder, make_room):  # type: ignore[attr-defined]
        path = folder / "jobs.db"
        actor = Actor(path, durability)
        lease = actor.lease()
        accepted = fill(actor)
        assert len(accepted) > 10
        assert len(fill(actor)) < len(accepted), "a second try found as much room as the first"
        assert set(accepted) <= job_ids(path)
        counted = actor.broker.counts()[0].queued

        make_room()
        jobs = actor.broker.claim(actor.claim_request(lease, limit=10)).jobs
        assert actor.broker.settle(completions(jobs)) == [Applied.APPLIED] * 10
        assert len(actor.put(3)) == 3
        counts = actor.broker.counts()[0]
        assert (counts.queued, counts.completed) == (counted - 10 + 3, 10)
        check_whole(path)
        actor.broker.close()
