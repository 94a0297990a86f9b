"""The arithmetic of the benchmarks: medians, ratios, promises, and what fails on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contestants, report, run
from benchmarks.contestants import Contestant
from benchmarks.page import page
from benchmarks.promises import servers
from benchmarks.report import Bar, Figure, Groups
from benchmarks.scenario import Scenario
from benchmarks.scenarios import embedded, postgres, redis

OURS = ("penstock", "tuned")
SAQ = ("saq", "tuned")
ARQ = ("arq", "default")
FIGURES = {
    "rate": Figure("drain", "jobs/s", 0),
    "wait": Figure("pick-up", "ms", 2, less_is_better=True),
    "many": Figure("drain of many", "jobs/s", 0),
}
GROUPS: Groups = {
    "rate": {OURS: [900.0, 1100.0, 1000.0], SAQ: [100.0, 90.0, 400.0], ARQ: [120.0]},
    "wait": {OURS: [2.0, 3.0], SAQ: [2.5], ARQ: [9.0]},
    "many": {OURS: [650.0]},
}


@pytest.mark.parametrize(
    ("bar", "measured", "held"),
    [
        (Bar("rate", "at least", 8, rivals=servers.peer), "8.33 x arq default", True),
        (Bar("rate", "at least", 8.4, rivals=servers.peer), "8.33 x arq default", False),
        (Bar("rate", "at least", 10, rivals=lambda key: key == SAQ), "10.00 x saq", True),
        (Bar("wait", "at most", 1.0, rivals=servers.peer), "1.00 x saq", True),
        (Bar("wait", "at most", 0.9, rivals=servers.peer), "1.00 x saq", False),
        (Bar("wait", "under", 2.5), "2.50 ms", False),
        (Bar("wait", "at most", 2.5), "2.50 ms", True),
        (Bar("many", "at least", 0.7, of="rate", whom="one queue"), "0.65 x one queue", False),
        (Bar("rate", "under", 1, ours=("penstock", "thread")), "not measured in this run", None),
        (Bar("many", "at least", 1, rivals=servers.peer), "nobody to compare with", None),
    ],
)
def test_a_promise_is_held_against_medians(bar: Bar, measured: str, *, held: bool | None) -> None:
    """A promise compares our median with a bound, an own figure, or the best of the rivals."""
    verdict = report.verdict(GROUPS, FIGURES, bar)
    assert verdict.held is held
    assert verdict.measured.startswith(measured)


def test_a_missed_aim_is_shown_and_breaks_no_promise() -> None:
    """An aim stands among the promises as what it is; a run that misses it has not failed."""
    aim = Bar("rate", "at least", 10, rivals=servers.peer, whom="the best", is_aim=True)
    missed, reached, promise = (
        report.verdict(GROUPS, FIGURES, bar)
        for bar in (aim, replace(aim, bound=8), replace(aim, is_aim=False))
    )
    assert [one.is_broken for one in (missed, reached, promise)] == [False, False, True]
    assert report.promises([missed, reached, promise])[2:] == [
        "| aim, drain: at least 10 x the best | 8.33 x arq default | not reached |",
        "| aim, drain: at least 8 x the best | 8.33 x arq default | yes |",
        "| drain: at least 10 x the best | 8.33 x arq default | **no** |",
    ]


def test_samples_are_grouped_by_figure_and_contestant() -> None:
    """Samples of all rounds stand under their figure and contestant, nothing is dropped."""
    samples = [
        {"round": number, "name": name, "variant": "tuned", "figure": "rate", "value": value}
        for number, name, value in [(0, "saq", 1.0), (1, "saq", 3.0), (0, "arq", 2.0)]
    ]
    groups = report.grouped(samples)
    assert groups == {"rate": {("saq", "tuned"): [1.0, 3.0], ("arq", "tuned"): [2.0]}}


def test_a_cell_shows_median_and_range() -> None:
    """A cell is the median with lowest and highest; one sample stands alone."""
    assert report.cell([3000.0, 1000.0, 1100.0], 0) == "1,100 (1,000-3,000)"
    assert report.cell([1.0, 2.0], 1) == "1.5 (1.0-2.0)"
    assert report.cell([2.0], 2) == "2.00"
    assert report.cell([], 0) == ""


def test_the_quiet_variant_is_left_to_its_own_promise() -> None:
    """A peer with its log off is a rival where that is said, else not; BullMQ's Node never is."""
    assert servers.logging_peer(("huey", "default"))
    assert not servers.logging_peer(("huey", "quiet"))
    assert servers.python_peer(("huey", "quiet"))
    assert not servers.python_peer(("bullmq node", "tuned"))
    assert not servers.peer(("penstock", "thread"))


def test_the_bare_cycle_is_nobody_s_peer() -> None:
    """The sketch is compared with where that is said, and never as the best of the peers."""
    sketch = ("sketch", "tuned")
    assert servers.sketch(sketch)
    assert not any(among(sketch) for among in (servers.peer, servers.python_peer, servers.node))
    assert [one.measures for one in redis.SCENARIO.everybody() if one.key == sketch] == [
        frozenset({"drain"})
    ]


def contestant(name: str) -> Contestant:
    """Return a contestant that needs no environment."""
    return Contestant(name, "tuned", "none", ("none",), lambda *_: 0, None, 7)


def broken(one: Contestant) -> dict[str, float]:
    """Fail for one contestant, the way a worker does."""
    if one.name == "saq":
        raise RuntimeError("worker ended\nTraceback\nValueError: no broker")
    return {"rate": 5.0}


def test_a_contestant_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    """Its failure is counted, tried twice at most, and stands on the page with its last words."""
    everybody = [contestant("penstock"), contestant("saq")]
    scenario = Scenario(
        title="A run",
        notes="A note.",
        everybody=lambda: everybody,
        measures={"drain": broken, "bytes": lambda _: {"many": 1.0}},
        figures=FIGURES,
        tables={"Draining": ("rate", "wait")},
        bars=(Bar("rate", "at least", 1, rivals=servers.peer, whom="the best"),),
        once=frozenset({"bytes"}),
    )
    taken = run.Run(scenario, everybody, ["drain", "bytes"])
    for number in range(4):
        taken.round(number)
    assert [sample["name"] for sample in taken.samples if sample["figure"] == "rate"] == [
        "penstock"
    ] * 4
    assert sum(sample["figure"] == "many" for sample in taken.samples) == len(everybody)
    document: dict[str, Any] = {
        "machine": run.machine(everybody),
        "rounds": 4,
        "drain_jobs": {"saq tuned": 7},
        "samples": taken.samples,
        "failures": taken.failures,
    }
    text = page("redis", scenario, document)
    assert "saq tuned, drain, 2 times: RuntimeError: worker ended ... ValueError: no broker" in text
    assert "| penstock tuned | 5 (5-5) |  |" in text
    assert "nobody to compare with" in text
    run.write(tmp_path, "redis", scenario, document)
    assert '"held": null' in (tmp_path / "redis.json").read_text()


def test_who_cannot_be_installed_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed installation takes its contestants out, and each is listed with the reason."""

    def install(lock: str) -> None:
        raise RuntimeError(f"no index has {lock}")

    monkeypatch.setattr(contestants, "install", install)
    absent = replace(contestant("saq"), lock="saq")
    everybody = [contestant("penstock"), absent, replace(absent, variant="default")]
    taken = run.Run(replace(redis.SCENARIO, measures={"drain": broken}), everybody, ["drain"])
    taken.install()
    taken.round(0)
    assert [sample["name"] for sample in taken.samples] == ["penstock"]
    assert report.failures({"failures": taken.failures}) == [
        "- saq tuned, install, 1 time: RuntimeError: no index has saq",
        "- saq default, install, 1 time: RuntimeError: no index has saq",
    ]


@pytest.mark.parametrize("scenario", [embedded.SCENARIO, redis.SCENARIO, postgres.SCENARIO])
def test_every_figure_of_a_scenario_is_known(scenario: Scenario) -> None:
    """Tables and promises name figures that are written, measures that exist, known contestants."""
    keys = {one.key for one in scenario.everybody()}
    assert len(keys) == len(scenario.everybody())
    named = {figure for figures in scenario.tables.values() for figure in figures}
    named |= {bar.figure for bar in scenario.bars} | {bar.of for bar in scenario.bars if bar.of}
    assert named <= scenario.figures.keys()
    assert scenario.once | scenario.long <= scenario.measures.keys()
    assert {bar.ours for bar in scenario.bars} <= keys
    for bar in scenario.bars:
        assert bar.rivals is None or any(bar.rivals(key) for key in keys), bar
