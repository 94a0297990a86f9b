"""Which sets a claim may offer, how many jobs it may ask for, and whom the worker waits for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.admission import NO_ROOM, Amounts, Gate, Set, lacking, room_for

SIZES = {"small": 10, "middle": 40, "large": 90}
SETS = [("q", need) for need in SIZES]


def room(free: int, slots: int = 8) -> tuple[list[str], int, int]:
    """Return the needs that are offered, how many jobs, and what each is counted as."""
    found = room_for(
        SETS, amounts_of=lambda one: {"memory": SIZES[one[1]]}, free={"memory": free}, slots=slots
    )
    return [need for _, need in found.sets], found.jobs, found.each.get("memory", 0)


def test_only_what_fits_is_offered() -> None:
    """And as many are asked for as would fit if all were as large as the largest offered."""
    assert room(100) == (["small", "middle", "large"], 1, 90)
    assert room(89) == (["small", "middle"], 2, 40)
    assert room(39) == (["small"], 3, 10)
    assert room(9) == ([], 0, 0)
    assert room(10_000, slots=3) == (["small", "middle", "large"], 3, 90)
    assert room(10_000, slots=0) == ([], 0, 0)


AMOUNTS = st.dictionaries(st.sampled_from("mcr"), st.integers(0, 100))


@given(
    sizes=st.lists(AMOUNTS, max_size=8),
    free=st.fixed_dictionaries({name: st.integers(-50, 400) for name in "mcr"}),
    slots=st.integers(-1, 20),
)
def test_whatever_comes_fits(sizes: list[Amounts], free: Amounts, slots: int) -> None:
    """No choice of the broker among what was offered can pass what is free, of anything."""
    sets = [("q", str(number)) for number in range(len(sizes))]
    found = room_for(sets, amounts_of=lambda one: sizes[int(one[1])], free=free, slots=slots)
    if found == NO_ROOM:
        assert slots <= 0 or all(lacking(one, free) for one in sizes)
        return
    assert 1 <= found.jobs <= slots
    for name in "mcr":
        most = max(sizes[int(need)].get(name, 0) for _, need in found.sets)
        assert found.each.get(name, 0) == most
        assert found.jobs * most <= free[name] or most == 0


def test_who_takes_nothing_of_what_is_short_is_not_held_back() -> None:
    """The gate is for those that compete with the one it is held for."""
    gate = Gate(patience_ms=100)
    licensed, also, plain = ("q", "licensed"), ("q", "also"), ("q", "plain")
    waiting, fitting = [plain, licensed, also], [plain, also]

    def competes(one: Set, other: Set) -> bool:
        return (one, other) == (also, licensed)

    for now_ms, through in ((0, fitting), (100, [plain]), (200, [plain])):
        assert gate.let_through(waiting, fitting, now_ms, competes=competes) == through
        # A claim that does not offer what is waited for does not open it.
        gate.passed(through)
    assert gate.let_through(waiting, waiting, 300, competes=competes) == [licensed]
    # Drawn before it fitted, and answered now: no slot was free for a claim of its own yet.
    gate.passed(fitting)
    gate.passed([licensed, also])
    assert gate.holder == licensed
    gate.passed([licensed])
    assert gate.let_through(waiting, fitting, 301, competes=competes) == fitting


def test_a_large_job_is_overtaken_for_its_patience_only() -> None:
    """Then the worker takes nothing until it fits, takes it alone, and opens again."""
    gate, large, small = Gate(patience_ms=100), ("q", "large"), ("q", "small")
    both = [small, large]
    assert gate.let_through(both, [small], 0) == [small]
    assert gate.let_through(both, [small], 99) == [small]
    assert gate.let_through(both, [small], 100) == []
    assert gate.holder == large
    assert gate.let_through(both, [small], 5_000) == []
    assert gate.let_through(both, both, 5_001) == [large]
    gate.passed([large])
    assert gate.let_through(both, [small], 5_002) == [small]


def test_a_large_job_that_went_elsewhere_is_not_waited_for() -> None:
    """Another worker took it: the gate opens, and the patience of the next begins anew."""
    gate, large, small = Gate(patience_ms=100), ("q", "large"), ("q", "small")
    gate.let_through([small, large], [small], 0)
    assert gate.let_through([small, large], [small], 100) == []
    assert gate.let_through([small], [small], 101) == [small]
    assert gate.let_through([small, large], [small], 102) == [small]


def test_who_waits_longest_is_waited_for_first() -> None:
    """Of two that do not fit the first one holds the gate."""
    gate = Gate(patience_ms=100)
    first, second = ("q", "large"), ("r", "large")
    gate.let_through([first], [], 0)
    gate.let_through([second, first], [], 50)
    gate.let_through([second, first], [], 200)
    assert gate.holder == first
