"""Rules for names and keys."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.names import KEY_CHARS_MAX, check_key, check_name
from penstock.errors import BadSetting

ALLOWED = string.ascii_letters + string.digits + "_.:-"


@given(name=st.text(ALLOWED, min_size=1, max_size=128))
def test_legal_names_pass_unchanged(name: str) -> None:
    """1 to 128 letters, digits and _.:- are a name, of whatever kind."""
    for kind in ("queue", "task", "tag", "tenant", "worker"):
        assert check_name(kind, name) == name


@given(char=st.characters().filter(lambda char: char not in ALLOWED))
def test_any_other_character_is_refused(char: str) -> None:
    """Whatever is not on the list is refused, wherever it stands; @ is for workers only."""
    for name in (char, f"a{char}", f"{char}a", f"a{char}b"):
        with pytest.raises(BadSetting):
            check_name("queue", name)
    if char != "@":
        with pytest.raises(BadSetting):
            check_name("worker", f"a{char}b")


@pytest.mark.parametrize(
    "name", ["", "a" * 129, "a}{b", "../x", "a\x00", "a\n", "a b", "é", "🚚", None, 3, b"a", ["a"]]
)
def test_a_refusal_names_the_value_and_the_rule(name: object) -> None:
    """The message holds the kind, the value (cut short) and what is allowed."""
    with pytest.raises(BadSetting) as refused:
        check_name("queue", name)
    message = str(refused.value)
    assert message.startswith("queue name ")
    assert repr(name)[:40] in message
    assert "1 to 128 characters" in message


def test_a_huge_name_is_not_repeated_in_full() -> None:
    """A megabyte of text does not land in the log."""
    with pytest.raises(BadSetting) as refused:
        check_name("task", "x" * 2**20)
    assert len(str(refused.value)) < 300


def test_a_worker_may_name_its_host() -> None:
    """The @ between worker and host is allowed there, and nowhere else."""
    assert check_name("worker", "w1@host.example") == "w1@host.example"
    with pytest.raises(BadSetting):
        check_name("queue", "w1@host.example")


@pytest.mark.parametrize("key", ["a", "graph 42", "ключ", "{}", "x" * KEY_CHARS_MAX])
def test_legal_keys_pass_unchanged(key: str) -> None:
    """A key is the user's text: any printable characters, up to the bound."""
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "x" * (KEY_CHARS_MAX + 1), "a\n", "\x00", "a\u2028b", None, 1, b"a"]
)
def test_other_keys_are_refused(key: object) -> None:
    """Empty, too long, unprintable or no text at all."""
    with pytest.raises(BadSetting, match=r"^key "):
        check_key(key)
