"""The immutable record of a job as bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.broker.stored import NO_SPEC, read_spec, write_spec
from penstock.core.job import JobSpec


def test_a_spec_is_read_as_it_was_written() -> None:
    """Every field comes back, the payload byte for byte."""
    spec = JobSpec(
        task="t",
        payload=msgspec.Raw(b'{"a": [1, 2.50, null],  "b":"\\u00e4"}'),
        priority=9,
        need="alone.m3",
        expires_ms=5,
        retries=0,
        timeout_ms=1,
        soft_timeout_ms=2,
        key="k",
        result_ttl_ms=3,
        tenant="acme",
        tags=("x", "y"),
        triggered_by="cron",
        memory_bytes=2**40,
        size=0.5,
    )
    assert read_spec(write_spec(spec)) == (spec, None)


def test_only_what_was_set_is_written() -> None:
    """A plain job costs its task and its payload."""
    assert write_spec(JobSpec(task="t", payload=msgspec.Raw(b"{}"))) == b'{"task":"t","payload":{}}'


@pytest.mark.parametrize(
    "stored",
    [
        b"", b"null", b"[]", b"{}", b'{"task":"t"}', b'{"task":1,"payload":{}}', b"\xff", b"{",
        b'{"task":"t","payload":{}', b'{"task":"t","payload":nope}', b"[" * 100_000,
        b'{"task":"\xff","payload":{}}', b'{"task":"t","payload":{},"priority":"9"}', "{", "\ud800",
    ],
)  # fmt: skip
def test_what_cannot_be_read_has_a_flaw(stored: bytes | str) -> None:
    """Bad bytes never raise: they give the empty spec and the reason."""
    spec, flaw = read_spec(stored)
    assert spec == NO_SPEC
    assert flaw


@given(stored=st.binary(max_size=60))
def test_no_bytes_raise(stored: bytes) -> None:
    """Whatever stands in the store, reading it gives a spec or a flaw, never both."""
    spec, flaw = read_spec(stored)
    assert (flaw is not None) == (spec is NO_SPEC)


def test_fields_of_a_newer_version_are_passed_over() -> None:
    """A record written by a newer Penstock can be read by this one."""
    spec, flaw = read_spec(b'{"task":"t","payload":{},"from_the_future":{"x":1}}')
    assert (spec.task, flaw) == ("t", None)
