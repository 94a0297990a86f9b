"""register: give each queue its tag."""

from __future__ import annotations

import pytest

from penstock.errors import BadSetting

from .scene import OTHER, QUEUE, Scene


def test_each_queue_gets_a_tag_of_its_own(scene: Scene) -> None:
    """Tags are from 1 to 65,535, one for each name."""
    tags = scene.broker.register(["a", "b", "c"])
    assert set(tags) == {"a", "b", "c"}
    assert len({*tags.values(), *scene.tags.values()}) == 5
    assert all(1 <= tag <= 0xFFFF for tag in tags.values())


def test_a_tag_never_changes(scene: Scene) -> None:
    """A name that is known keeps its tag, whoever asks, in whatever order."""
    again = scene.harness.open().register([OTHER, "new", QUEUE])
    assert again[QUEUE] == scene.tags[QUEUE]
    assert again[OTHER] == scene.tags[OTHER]
    assert scene.broker.register(["new"]) == {"new": again["new"]}


def test_a_name_asked_for_twice_is_one_queue(scene: Scene) -> None:
    """The same name twice in one call gets one tag."""
    assert len(scene.broker.register(["twice", "twice"])) == 1
    assert [counted.queue for counted in scene.broker.counts()].count("twice") == 1


def test_an_illegal_name_registers_nothing(scene: Scene) -> None:
    """A name with braces is refused, and the legal ones beside it are not registered either."""
    with pytest.raises(BadSetting, match=r"a\}\{b"):
        scene.broker.register(["legal", "a}{b"])
    assert "legal" not in {counted.queue for counted in scene.broker.counts()}
