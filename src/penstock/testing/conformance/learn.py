"""learn: add to the footprints of profiles."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from penstock.broker import requests as r
from penstock.errors import UsageError

from .cases import requires
from .harness import Capability
from .scene import Scene

PROFILE = "shop.send:m12"
"""A profile as a worker would name it."""


def learned(scene: Scene, profile: str = PROFILE) -> Mapping[str, float]:
    """Return what a profile holds; it must be known."""
    return scene.broker.footprints([profile])[profile]


def test_the_first_tally_is_what_a_profile_holds(scene: Scene) -> None:
    """Every field as it was told, whole numbers and others."""
    adds = {"runs": 1.0, "peak.17": 0.5, "third": 1 / 3, "zero": 0.0}
    scene.broker.learn([r.Tally(PROFILE, adds)])
    assert learned(scene) == adds


def test_amounts_add_up(scene: Scene) -> None:
    """Over calls and handles, within a batch, and with fields that came later."""
    scene.broker.learn([r.Tally(PROFILE, {"runs": 1, "waste": 2.5})])
    scene.harness.open().learn(
        [r.Tally(PROFILE, {"runs": 3}), r.Tally("other", {"runs": 8}), r.Tally(PROFILE, {"new": 4})]
    )
    scene.broker.learn([r.Tally(PROFILE, {"runs": 5, "new": 0.25})])
    assert learned(scene) == {"runs": 9.0, "waste": 2.5, "new": 4.25}
    assert learned(scene, "other") == {"runs": 8.0}


def test_a_profile_is_its_whole_name(scene: Scene) -> None:
    """What differs by case, end or letters beyond ASCII is another profile, or another field."""
    names = ["a", "A", "a ", "a:b", "a{b}", "gr\u00f6\u00dfe", "\U0001f40b" * r.PROFILE_CHARS_MAX]
    for number, name in enumerate(names, 1):
        scene.broker.learn([r.Tally(name, {"n": number, "N": 0.5, "\u00e4'\"\\": 2.0})])
    assert scene.broker.footprints(names) == {
        name: {"n": float(number), "N": 0.5, "\u00e4'\"\\": 2.0}
        for number, name in enumerate(names, 1)
    }


def test_great_and_small_amounts_survive(scene: Scene) -> None:
    """What a double can tell comes back as it was, and sums are as exact as doubles are."""
    amounts = [1e150, 5e-324, 1e-20, 0.1, 1 / 3, 2.0**53 + 2, 123_456_789.123_456_78, 1e22]
    adds = {f"field {number}": amount for number, amount in enumerate(amounts)}
    scene.broker.learn([r.Tally(PROFILE, adds)])
    assert learned(scene) == adds
    scene.broker.learn([r.Tally(PROFILE, adds)])
    assert learned(scene) == {field: 2 * amount for field, amount in adds.items()}


def test_a_small_amount_is_not_lost_to_a_great_one(scene: Scene) -> None:
    """Each field has its own sum: weights that grow leave the others as exact as they were."""
    for weight in (1.0, 1e75, 1e150):
        scene.broker.learn([r.Tally(PROFILE, {"weight": weight, "runs": 1})])
    found = learned(scene)
    assert found["runs"] == 3.0
    assert math.isclose(found["weight"], 1e150, rel_tol=1e-12)


def test_a_tally_may_have_many_fields(scene: Scene) -> None:
    """As many as the port allows at a time, and a profile may get more in further tallies."""
    names = [f"{number:0{r.FIELD_CHARS_MAX}d}" for number in range(2 * r.TALLY_FIELDS_MAX)]
    halves = names[: r.TALLY_FIELDS_MAX], names[r.TALLY_FIELDS_MAX :]
    scene.broker.learn([r.Tally(PROFILE, dict.fromkeys(half, 1.5)) for half in halves])
    assert learned(scene) == dict.fromkeys(names, 1.5)


def test_a_batch_may_name_many_profiles(scene: Scene) -> None:
    """As many as the port allows, each with its own sums."""
    tallies = [r.Tally(f"p{number}", {"n": number}) for number in range(r.BATCH_MAX)]
    scene.broker.learn(tallies)
    found = scene.broker.footprints([tally.profile for tally in tallies])
    assert found == {f"p{number}": {"n": float(number)} for number in range(r.BATCH_MAX)}


def test_nothing_is_learned_from_nothing(scene: Scene) -> None:
    """No tallies, and tallies without fields, make no profile known."""
    scene.broker.learn([])
    scene.broker.learn([r.Tally(PROFILE, {})])
    assert scene.broker.footprints([PROFILE]) == {}


def test_what_is_outside_the_bounds_is_refused(scene: Scene) -> None:
    """Each in words, and nothing of its call is added, not even what was good of it."""
    many = {str(number): 1.0 for number in range(r.TALLY_FIELDS_MAX + 1)}
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("", {"n": 1.0}, "profile '' is not allowed: use 1 to 300 printable characters"),
        ("x" * (r.PROFILE_CHARS_MAX + 1), {"n": 1.0}, "profile .* is not allowed"),
        ("nul\0", {"n": 1.0}, "profile .* is not allowed"),
        ("half \ud800", {"n": 1.0}, "profile .* is not allowed"),
        (PROFILE, {"": 1.0}, "field '' is not allowed: use 1 to 40 printable characters"),
        (PROFILE, {"x" * (r.FIELD_CHARS_MAX + 1): 1.0}, "field .* is not allowed"),
        (PROFILE, {"line\n": 1.0}, "field .* is not allowed"),
        (PROFILE, many, "gets 65 fields in one tally: give at most 64"),
        (PROFILE, {"n": -0.5}, "gets -0.5: give a number from 0 to 1e\\+150"),
        (PROFILE, {"n": math.nan}, "gets nan: give a number"),
        (PROFILE, {"n": math.inf}, "gets inf: give a number"),
        (PROFILE, {"n": 1.01e150}, "gets 1.01e\\+150: give a number"),
        (PROFILE, {"n": 10**400}, "give a number"),
    ]
    for profile, adds, why in refused:
        with pytest.raises(UsageError, match=why):
            scene.broker.learn([r.Tally("good", {"n": 1.0}), r.Tally(profile, adds)])
    with pytest.raises(UsageError, match="tallies has 501 items"):
        scene.broker.learn([r.Tally("good", {"n": 1.0})] * (r.BATCH_MAX + 1))
    assert scene.broker.footprints(["good", PROFILE]) == {}


@requires(Capability.THREADS)
def test_callers_at_once_lose_nothing(scene: Scene) -> None:
    """Many that add to the same profiles, in any order, add up to the sum of all."""
    calls, handles = 20, [scene.harness.open() for _ in range(4)]
    failures: list[Exception] = []

    def add(number: int) -> None:
        tallies = [r.Tally(f"p{at}", {"a": 1.0, "b": 0.5}) for at in range(5)]
        try:
            for _ in range(calls):
                handles[number].learn(tallies if number % 2 else tallies[::-1])
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(len(handles))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    total = float(calls * len(handles))
    names = [f"p{at}" for at in range(5)]
    expected = {name: {"a": total, "b": total / 2} for name in names}
    assert scene.broker.footprints(names) == expected
