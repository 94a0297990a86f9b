"""Bundles: written once for their owner, read back, refused where something is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.cli import bundle, recipe
from penstock.cli.exits import Declined, NotFound
from penstock.core.ids import JobId
from penstock.core.job import AttemptRecord, JobRecord, JobSpec
from penstock.core.lifecycle import State
from penstock.core.memory import limit_bytes
from penstock.core.runtime import Runtime
from penstock.core.usage import Usage
from penstock.errors import BadSetting
from penstock.worker.installed import digest_of, installed

MIB = 2**20
SEALED = b'{"__secret":{"names":["token"],"key":"k","box":"AAAA"},"mib":3}'
HERE = Runtime(penstock="1", python="3", platform="Linux", packages="aa")


def record(*usages: Usage | None, payload: bytes = b'{"mib":3}', **more: Any) -> JobRecord:
    """Return a dead job with attempts that took so much."""
    attempts = tuple(
        AttemptRecord(number, "w", 7, 1, 2, "failed", usage=usage)
        for number, usage in enumerate(usages, 1)
    )
    spec = JobSpec(task="shop.send", payload=msgspec.Raw(payload), need="alone")
    return JobRecord(
        **{"id": JobId("1" * 32), "queue": "q", "spec": spec, "state": State.DEAD,
           "enqueued_at": 0, "attempts": attempts, **more}
    )  # fmt: skip


def made(job: JobRecord) -> bundle.Bundle:
    """Return its bundle."""
    return bundle.make(job, here=HERE, installed={"penstock": "1"}, made_at=5)


def written(job: JobRecord, folder: Path) -> recipe.Recipe:
    """Return its bundle as it is read back from a file."""
    bundle.write(made(job), folder / "b.json", force=True)
    return recipe.read(folder / "b.json")


def wanted(limit: int | None = None, *secrets: str) -> recipe.Wanted:
    """Return what a call of `replay` may ask for: a limit, and secrets that are all "x"."""
    values = dict.fromkeys(secrets, msgspec.Raw(b'"x"'))
    return recipe.Wanted(limit, None, values)


def test_the_file_is_its_owners_and_never_overwrites_by_itself(tmp_path: Path) -> None:
    """0600 under any umask; what stands there stays, unless it is asked for."""
    path = tmp_path / "b.json"
    size = bundle.write(made(record()), path, force=False)
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, size)
    path.write_text("mine")
    path.chmod(0o644)
    with pytest.raises(Declined, match="--force"):
        bundle.write(made(record()), path, force=False)
    assert path.read_text() == "mine"
    bundle.write(made(record()), path, force=True)
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, size)
    assert [one.name for one in tmp_path.iterdir()] == ["b.json"]
    with pytest.raises(BadSetting, match="cannot be written"):
        bundle.write(made(record()), tmp_path / "nowhere" / "b.json", force=False)


def test_it_says_whose_packages_it_names() -> None:
    """The worker's where they are the same, else those of this machine, and that they differ."""
    same = made(record(Usage(runtime=HERE, curve=((0, 1),))))
    assert (same.worker, same.installed_on, same.curve, same.unknown) == (
        HERE,
        "worker",
        ((0, 1),),
        (),
    )
    other = msgspec.structs.replace(HERE, packages="bb")
    assert made(record(Usage(runtime=other), None)).installed_on == "here"
    assert "differ" in made(record(Usage(runtime=other))).unknown[0]
    assert len(made(record(None)).unknown) == 2


def test_secrets_are_named_and_asked_for(tmp_path: Path) -> None:
    """No value is in the file; without one, or with one too many, no job is made."""
    found = written(record(payload=SEALED), tmp_path)
    assert "AAAA" not in (tmp_path / "b.json").read_text()
    assert found.secrets == ("token",)
    with pytest.raises(BadSetting, match="--secret token=@FILE"):
        recipe.job_of(found, wanted(), now_ms=1)
    with pytest.raises(BadSetting, match="mib is no secret argument"):
        recipe.job_of(found, wanted(None, "token", "mib"), now_ms=1)
    job = recipe.job_of(found, wanted(None, "token"), now_ms=1)
    assert msgspec.json.decode(job.spec.payload) == {"mib": 3, "token": "x"}


def test_values_of_secrets_come_from_files_and_variables(tmp_path: Path) -> None:
    """As text or as JSON; an error shows nothing of them."""
    file = tmp_path / "secret"
    file.write_text("12\n")
    given = [f"a=@{file}", f"b:=@{file}", "c=env:TOKEN"]
    found = recipe.secret_values(given, {"TOKEN": "hunter2"})
    assert {name: bytes(value) for name, value in found.items()} == {
        "a": b'"12"', "b": b"12", "c": b'"hunter2"',
    }  # fmt: skip
    for wrong in ("hunter2", "a=hunter2", "a:=env:TOKEN", "a=env:NONE", "=@x"):
        with pytest.raises(BadSetting) as told:
            recipe.secret_values([wrong], {"TOKEN": "hunter2"})
        assert "hunter2" not in str(told.value)
    with pytest.raises(NotFound):
        recipe.secret_values([f"a=@{tmp_path / 'none'}"], {})


def test_the_limit_is_that_of_the_last_attempt_or_of_the_call(tmp_path: Path) -> None:
    """What is reserved for the replay makes a limit of just that size."""
    usage = Usage(reserved_bytes=128 * MIB, limit_bytes=160 * MIB)
    found = written(record(Usage(limit_bytes=96 * MIB), usage), tmp_path)
    assert recipe.job_of(found, wanted(), now_ms=1).spec.memory_bytes == 128 * MIB
    enough = recipe.job_of(found, wanted(2048 * MIB), now_ms=1).spec.memory_bytes
    assert enough is not None
    assert 0 <= 2048 * MIB - limit_bytes(enough) <= 1
    with pytest.raises(BadSetting, match="48MiB at least"):
        recipe.job_of(found, wanted(MIB), now_ms=1)
    free = written(record(Usage(reserved_bytes=128 * MIB)), tmp_path)
    assert recipe.job_of(free, wanted(), now_ms=1).spec.memory_bytes is None


def test_what_the_last_attempt_left_is_there(tmp_path: Path) -> None:
    """Its checkpoint, and the number of its claim."""
    found = written(record(None, None, checkpoint=msgspec.Raw(b'{"at":3}')), tmp_path)
    job = recipe.job_of(found, wanted(), now_ms=9)
    assert (job.claim_number, job.claimed_at) == (2, 9)
    assert job.checkpoint is not None
    assert msgspec.json.decode(job.checkpoint) == {"at": 3}
    assert recipe.job_of(written(record(), tmp_path), wanted(), now_ms=9).checkpoint is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no bundle"),
        ("{}", "no bundle"),
        ("[" * 100_000, "no bundle"),
        ('{"bundle":9,"job":{"id":"1","queue":"q","task":"t","arguments":{}}}', "form 9"),
        ('{"bundle":1,"job":{"id":"../x","queue":"q","task":"t","arguments":{}}}', "job id"),
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """With what is wrong."""
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(BadSetting, match=words):
        recipe.read(tmp_path / "b.json")


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken into memory."""
    monkeypatch.setattr(recipe, "BUNDLE_BYTES_MAX", 10)
    (tmp_path / "b.json").write_text("x" * 11)
    with pytest.raises(BadSetting, match="11 bytes"):
        recipe.read(tmp_path / "b.json")


def test_what_is_installed_is_read_from_names_of_folders(tmp_path: Path) -> None:
    """The first place wins, as in an import; what is not there is passed over."""
    for place, name in (
        ("a", "Fast-API-1.0.dist-info"), ("b", "fast_api-2.0.dist-info"),
        ("b", "old-3.1-py3.11.egg-info"), ("b", "no_version.egg-info"), ("b", "module"),
    ):  # fmt: skip
        (tmp_path / place / name).mkdir(parents=True)
    found = installed([str(tmp_path / "a"), str(tmp_path / "none"), str(tmp_path / "b")])
    assert found == {"fast_api": "1.0", "old": "3.1"}
    assert digest_of(found) != digest_of({**found, "old": "3.2"})
    assert "penstock" in installed()
