"""The immutable record of a job as bytes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.broker import stored
from penstock.broker.stored import NO_SPEC, read_spec, write_spec
from penstock.core.capacity import Capacity
from penstock.core.job import JobSpec
from penstock.core.runtime import Runtime
from penstock.core.usage import Usage


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


@pytest.mark.parametrize("read", [stored.read_usage, stored.read_capacity])
@pytest.mark.parametrize("text", [None, b"", b"\xff", b"[1]", b'{"slots":"x","cpu_ms":"x"}'])
def test_what_was_measured_is_none_where_it_cannot_be_read(
    read: Callable[[bytes | None], object], text: bytes | None
) -> None:
    """Nothing raises on foreign bytes: a listing shows the rest."""
    assert read(text) is None


def test_what_a_newer_release_measured_is_left_out() -> None:
    """Fields that are not known here are no flaw."""
    assert stored.read_usage(b'{"cpu_ms":3,"of_tomorrow":[1]}') == Usage(cpu_ms=3)
    assert stored.read_capacity(b'{"slots":3,"of_tomorrow":[1]}') == Capacity(slots=3)


def test_what_was_measured_is_read_as_it_was_written() -> None:
    """Every field comes back."""
    usage = Usage(
        peak_bytes=1, baseline_bytes=2, reserved_bytes=3, limit_bytes=4,
        measured="cgroup", cpu_ms=5, evidence="x", curve=((0, 7), (9, 8)),
        runtime=Runtime(
            penstock="1", python="3", platform="x", packages="y", environment={"TZ": "UTC"},
            others=("A",),
        ),
    )  # fmt: skip
    assert stored.read_usage(stored.write_usage(usage)) == usage
    capacity = Capacity(
        memory_bytes=1, slots=2, labels=("a",), gpu_memory_bytes=(3, 4), resources={"r": 5}
    )
    assert stored.read_capacity(stored.write_capacity(capacity)) == capacity
