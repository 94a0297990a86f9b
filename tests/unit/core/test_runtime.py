"""What of an environment may be written down."""

from __future__ import annotations

from penstock.core.runtime import VALUE_CHARS_MAX, VARIABLES_MAX, kept_environment


def test_only_what_is_known_to_be_harmless_keeps_its_value() -> None:
    """Others are named, what looks like a secret is not, and Penstock's own is left out."""
    kept, others = kept_environment(
        {
            "TZ": "UTC",
            "OMP_NUM_THREADS": "4",
            "SHOP_DATABASE": "postgresql://u:pw@h/x",
            "SHOP_API_TOKEN": "hunter2",
            "OMP_SECRET": "hunter2",
            "PENSTOCK_URL": "redis://:hunter2@h",
        }
    )
    assert kept == {"OMP_NUM_THREADS": "4", "TZ": "UTC"}
    assert others == ("SHOP_DATABASE",)


def test_an_environment_of_any_size_is_kept_small() -> None:
    """It is stored with attempts that fail."""
    kept, others = kept_environment(
        {f"{kind}{number}": "x" * 10_000 for kind in ("LC_", "SHOP_") for number in range(1_000)}
    )
    assert (len(kept), len(others)) == (VARIABLES_MAX, VARIABLES_MAX)
    assert {len(value) for value in kept.values()} == {VALUE_CHARS_MAX}
    assert kept_environment({"x" * 1_000: "y"}) == ({}, ())
