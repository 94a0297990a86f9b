"""Light and heavy jobs on a machine that is too small for all at once.

Every contestant is given the same jobs, in a memory group with all its processes: one job in ten is
heavy, 1 to 3 s of processor time with 0.5 to 2.5 GiB really touched, the others sleep for 20 ms.
The budget is 6 GiB: a group of 8 GiB shows how much is taken, one of 6 GiB who is killed for it.
"""

from __future__ import annotations

from benchmarks.contestants import Contestant
from benchmarks.entries import mixed
from benchmarks.promises import mixed_memory as promises
from benchmarks.scenario import Scenario
from benchmarks.scenarios.mixed_memory import measure, trace
from benchmarks.scenarios.mixed_memory.group import Group, limited
from benchmarks.scenarios.mixed_memory.planner import Piece, planned_s

GIB = 2**30
MIB = 2**20
BUDGET_MIB = 6 * 1024
#: Heavy jobs of one run, and runs that are known of before it to who learns.
HEAVY, HISTORY = 24, 40
#: Slots of Penstock, which the planner is given as well.
SLOTS = 4
SEED = 20_261_127


def mixed_8gib(one: Contestant) -> dict[str, float]:
    """How much is taken of 8 GiB, how long all of it lasts, and how long light jobs wait."""
    with limited(8 * GIB) as group:
        found = _run(one, group)
        memory = group.memory
    heavy = [mark for mark in found.marks if mark.kind == "heavy"]
    light = [mark for mark in found.marks if mark.kind == "light"]
    started_s = min(mark.at_s for mark in found.marks)
    heavy_ends_s = max((mark.ended_s for mark in heavy), default=started_s)
    # Those that came while heavy jobs ran or waited; afterwards the machine is idle.
    late_ms = [1000 * (m.began_s - m.at_s) for m in light if m.at_s < heavy_ends_s]
    sizes = {job.number: job.mib for job in trace.mixed(SEED, HEAVY)}
    pieces = [Piece(sizes[mark.number], mark.ended_s - mark.began_s) for mark in heavy]
    used = sum(piece.mib * piece.run_s for piece in pieces)
    lasted_s = heavy_ends_s - started_s
    planned = planned_s(pieces, budget_mib=BUDGET_MIB, slots=SLOTS) if pieces else 0.0
    return {
        "lost_8": found.lost,
        "anonymous_mib": memory.anonymous_bytes / MIB,
        "makespan_s": lasted_s,
        "light_p50_ms": measure.percentile(late_ms, 0.5),
        "light_p95_ms": measure.percentile(late_ms, 0.95),
        "light_p99_ms": measure.percentile(late_ms, 0.99),
        "packed_percent": 100 * used / (BUDGET_MIB * lasted_s),
        "of_planner_percent": 100 * planned / lasted_s,
        "producer_mib": found.producer["peak_mib"],
    }


def mixed_6gib(one: Contestant) -> dict[str, float]:
    """Who is killed, and what is lost, where there is no more than the budget."""
    with limited(6 * GIB) as group:
        found = _run(one, group)
        kills, hits = group.counters()
    return {"kills": kills, "hits": hits, "lost_6": found.lost}


def _run(one: Contestant, group: Group) -> measure.Found:
    with measure.place_of(one) as place:
        if one.name == "penstock":
            # In no group: what is measured here is what it makes of knowing.
            with measure.workers(one, place, None):
                measure.run(one, place, trace.history(SEED, HISTORY))
        with measure.workers(one, place, group):
            measure.wait_up(one, place, "light")
            group.restart()
            return measure.run(one, place, trace.mixed(SEED, HEAVY))


def head_of_line(one: Contestant) -> dict[str, float]:
    """Two jobs that hold the processor for 3 s each, then 50 no-ops; two slots."""
    with measure.place_of(one) as place, measure.workers(one, place, None):
        measure.run(one, place, trace.head_history())
        alone = measure.run(one, place, trace.head_of_line(no_ops=1))
        found = measure.run(one, place, trace.head_of_line())
    no_ops = [mark for mark in found.marks if mark.kind == "noop"]
    return {
        "last_noop_s": max(m.ended_s for m in no_ops) - min(m.at_s for m in no_ops),
        "heavy_stretch": _lasts_s(found) / _lasts_s(alone),
        "heavy_at_once": _most_at_once(found),
        "head_lost": found.lost,
    }


def _lasts_s(found: measure.Found) -> float:
    heavy = [mark for mark in found.marks if mark.kind == "heavy"]
    return max(m.ended_s for m in heavy) - min(m.began_s for m in heavy)


def _most_at_once(found: measure.Found) -> float:
    heavy = [mark for mark in found.marks if mark.kind == "heavy"]
    return max(sum(o.began_s <= m.began_s < o.ended_s for o in heavy) for m in heavy)


SCENARIO = Scenario(
    title="Mixed work on a small machine",
    notes=(
        f"{HEAVY} heavy jobs at once, {9 * HEAVY} light ones while they last; 6 GiB to reserve. "
        "Penstock has learned from "
        f"{HISTORY} earlier heavy jobs of other sizes: with a hint of the size (`hint`) and "
        "without (`blind`). Peers have 2, 4 or 8 processes, or a queue and two processes for each "
        "kind (`split`), which is the best that can be done by hand. All on Redis, taskito on "
        "SQLite. Behind two long jobs: `declared` says memory=, `plain` says nothing of the task, "
        "which has run four times before."
    ),
    everybody=mixed.everybody,
    measures={
        "mixed_8gib": mixed_8gib,
        "mixed_6gib": mixed_6gib,
        "head_of_line": head_of_line,
    },
    figures=promises.FIGURES,
    tables=promises.TABLES,
    bars=promises.BARS,
)
