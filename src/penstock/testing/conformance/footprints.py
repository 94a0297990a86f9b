"""footprints: what was learned of profiles."""

from __future__ import annotations

import pytest

from penstock.broker import requests as r
from penstock.errors import UsageError

from .scene import Scene


def test_an_unknown_profile_is_left_out(scene: Scene) -> None:
    """The answer names the profiles that are known, whatever else was asked for."""
    scene.broker.learn([r.Tally("known", {"n": 1.0}), r.Tally("not asked for", {"n": 1.0})])
    assert scene.broker.footprints(["unknown", "known", "know"]) == {"known": {"n": 1.0}}


def test_asking_makes_nothing_known(scene: Scene) -> None:
    """A profile that was looked up is as unknown as before."""
    assert scene.broker.footprints(["p"]) == {}
    assert scene.harness.open().footprints(["p"]) == {}


def test_no_profiles_have_no_footprints(scene: Scene) -> None:
    """An empty question has an empty answer."""
    assert scene.broker.footprints([]) == {}


def test_a_profile_may_be_named_twice(scene: Scene) -> None:
    """It stands in the answer once, with all that was added."""
    scene.broker.learn([r.Tally("p", {"n": 1.0})])
    assert scene.broker.footprints(["p", "p"]) == {"p": {"n": 1.0}}


def test_what_is_answered_does_not_change(scene: Scene) -> None:
    """An answer tells of its instant, whatever is learned later."""
    scene.broker.learn([r.Tally("p", {"n": 1.0})])
    before = scene.broker.footprints(["p"])
    scene.broker.learn([r.Tally("p", {"n": 1.0, "m": 1.0}), r.Tally("q", {"n": 1.0})])
    assert before == {"p": {"n": 1.0}}


def test_footprints_outlive_jobs_and_time(scene: Scene) -> None:
    """Neither pruning nor the passing of a year takes any."""
    scene.broker.learn([r.Tally("p", {"n": 1.0})])
    scene.complete(scene.run(scene.put()))
    scene.harness.advance(366 * 86_400_000)
    scene.broker.prune(["q"], [], limit=10)
    assert scene.broker.footprints(["p"]) == {"p": {"n": 1.0}}


def test_what_is_outside_the_bounds_is_refused(scene: Scene) -> None:
    """Over BATCH_MAX profiles, or one that no tally can name."""
    with pytest.raises(UsageError, match="profiles has 501 items"):
        scene.broker.footprints([f"p{number}" for number in range(r.BATCH_MAX + 1)])
    for name in ("", "x" * (r.PROFILE_CHARS_MAX + 1), "nul\0", "half \ud800"):
        with pytest.raises(UsageError, match=r"profile .* is not allowed: use 1 to 300 printable"):
            scene.broker.footprints(["good", name])
