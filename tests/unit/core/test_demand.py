"""What jobs take beside memory: in the names of ready sets, and against what workers have."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.capacity import Capacity, wanting
from penstock.core.demand import (
    DEMAND_BYTES_MAX,
    NO_DEMAND,
    Demand,
    amounts_of,
    check_demand,
    demand_of,
    in_words,
    need_with,
    plain_need,
    with_gpu_memory,
)
from penstock.core.job import ALONE
from penstock.core.names import check_name
from penstock.core.need import (
    is_alone,
    learned_need,
    profile_of,
    same_demand,
    sized_need,
    sizes_of,
)
from penstock.errors import BadSetting

MIB = 2**20
GIB = 2**30
NAMES = st.text("abzAZ09_-", min_size=1, max_size=32)
COUNTS = st.integers(1, 10**9)


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    """Any demand that is short enough."""
    found = Demand(
        cpus_milli=draw(st.integers(0, 4_096_000)),
        labels=tuple(sorted(draw(st.sets(NAMES, max_size=3)))),
        resources=tuple(sorted(draw(st.dictionaries(NAMES, COUNTS, max_size=3)).items())),
        gpus=draw(st.integers(0, 64)),
        gpu_memory_bytes=draw(st.integers(0, 10**6)) * MIB,
    )
    try:
        return check_demand(found)
    except BadSetting:
        return msgspec.structs.replace(found, labels=(), resources=())


PLAIN = st.sampled_from(
    [ALONE, sized_need(GIB), sized_need(2**60, over_bytes=2**49), learned_need("t", 99_999)]
)


@given(demand=demands(), plain=PLAIN)
def test_a_set_tells_all_that_its_jobs_take(demand: Demand, plain: str) -> None:
    """Its name is legal and within its bound, and read back as it was; memory is told as before."""
    need = need_with(demand, plain)
    assert demand_of(need) == demand
    assert plain_need(need) == plain
    assert is_alone(need)
    assert sizes_of(need) == sizes_of(plain)
    assert profile_of(need) == profile_of(plain)
    assert check_name("need", need) == need
    grown = with_gpu_memory(need, round(demand.gpu_memory_bytes * 25.6) + 64 * GIB)
    assert check_name("need", grown) == grown
    assert same_demand(ALONE, need) == need_with(demand, ALONE)


def test_names_look_as_the_decision_record_says() -> None:
    """Stored names are read by other releases, so their form stays."""
    demand = Demand(
        cpus_milli=1500, labels=("eu",), resources=(("license", 2),), gpus=1,
        gpu_memory_bytes=8 * GIB,
    )  # fmt: skip
    assert need_with(demand, "alone.m12") == "takes.c1500.g1.v8192.leu.r2-license:alone.m12"
    assert need_with(NO_DEMAND, "alone.m12") == "alone.m12"


@pytest.mark.parametrize("need", ["takes.x1:alone", "takes.c0:alone", "takes.:alone", "takes.r2:a"])
def test_what_a_newer_release_asks_for_is_not_taken(need: str) -> None:
    """A name that is not understood is alone, and nobody knows what it takes."""
    assert is_alone(need)
    assert demand_of(need) is None


def test_a_demand_that_is_too_long_is_refused() -> None:
    """The error says how long it is, and how long it may be."""
    demand = Demand(labels=tuple(sorted(letter * 32 for letter in "abc")))
    with pytest.raises(BadSetting, match=f"{DEMAND_BYTES_MAX} at most"):
        check_demand(demand)


def test_a_share_of_a_gpu_grows_in_the_name() -> None:
    """The rest of the name stays; what takes no GPU stays whole."""
    need = "takes.c2000.v8192:alone.m3"
    assert with_gpu_memory(need, 12 * GIB) == "takes.c2000.v12288:alone.m3"
    assert with_gpu_memory(need, None) == need
    assert with_gpu_memory("alone.m3", 12 * GIB) == "alone.m3"
    assert with_gpu_memory("takes.g1:alone", 12 * GIB) == "takes.g1.v12288:alone"


HAS = Capacity(
    cpus_milli=4000, labels=("eu", "licensed"), resources={"license": 2},
    gpu_memory_bytes=(24 * GIB, 8 * GIB),
)  # fmt: skip


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (NO_DEMAND, None),
        (Demand(cpus_milli=4000, labels=("eu",), resources=(("license", 2),), gpus=2), None),
        (Demand(gpu_memory_bytes=24 * GIB), None),
        (Demand(gpus=1, gpu_memory_bytes=16 * GIB), None),
        (Demand(cpus_milli=4001), "4.001 CPUs (it has 4)"),
        (Demand(labels=("eu", "us")), "label us"),
        (Demand(resources=(("license", 3),)), "3 of license (it has 2)"),
        (Demand(resources=(("other", 1),)), "1 of other (it has 0)"),
        (Demand(gpus=3), "GPUs"),
        (Demand(gpus=2, gpu_memory_bytes=16 * GIB), "GPUs"),
        (Demand(gpu_memory_bytes=25 * GIB), "GPUs"),
    ],
)
def test_what_a_worker_lacks_is_named(demand: Demand, words: str | None) -> None:
    """None: it could hold the job if nothing else ran there."""
    found = wanting(HAS, demand)
    assert found is None if words is None else found is not None and words in found


def test_a_worker_of_an_older_release_has_nothing_to_count() -> None:
    """It tells neither CPUs nor labels, and none of these jobs is for it."""
    assert wanting(Capacity(memory_bytes=GIB), NO_DEMAND) is None
    assert wanting(Capacity(memory_bytes=GIB), Demand(cpus_milli=1)) is not None


def test_amounts_and_threads_follow_from_a_demand() -> None:
    """What is 0 is not counted, memory aside; a library starts a thread for each CPU begun."""
    demand = Demand(cpus_milli=2100, resources=(("a", 3),), gpu_memory_bytes=MIB)
    assert amounts_of(demand, 7) == {"memory": 7, "cpus": 2100, "resource.a": 3, "gpu": 1}
    assert amounts_of(NO_DEMAND) == {"memory": 0}
    assert [Demand(cpus_milli=n).threads for n in (0, 500, 1000, 2100)] == [1, 1, 1, 3]


def test_a_demand_is_said_in_words() -> None:
    """As people read it in `penstock explain`."""
    demand = Demand(
        cpus_milli=500, labels=("eu",), resources=(("license", 2),), gpus=2, gpu_memory_bytes=GIB
    )
    said = "0.5 CPUs, 2 GPUs, 1,024 MiB of GPU memory on each, label eu, 2 of license"
    assert in_words(demand) == said
    assert in_words(NO_DEMAND) == ""
