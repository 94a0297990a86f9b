"""Which GPUs a worker has, what its children are made for, and what tells that memory ran out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from penstock.core import outcome as o
from penstock.core.devices import Device
from penstock.errors import BadSetting
from penstock.executors.stop import Stop
from penstock.worker.classify import classify
from penstock.worker.gpu_memory import is_gpu_out_of_memory
from penstock.worker.supervisor.child_kinds import (
    PLAIN,
    ChildKind,
    ChildKinds,
    is_plain,
    may_be_plain,
)
from penstock.worker.supervisor.gpus import chosen_devices

FOUND = [Device("GPU-aa1", 1), Device("GPU-ab2", 2), Device("GPU-b3", 3)]


@pytest.mark.parametrize(
    ("wanted", "visible", "sizes"),
    [
        (None, None, [1, 2, 3]),
        ((), None, []),
        ((2, 0), "0,1,2", [3, 1]),
        (None, "-1", []),
        (None, "GPU-a", []),
        (None, "GPU-b,GPU-a,GPU-aa1", [3]),
        (None, "", []),
        (None, "2, 0,2", [3, 1]),
        (None, "GPU-ab2,GPU-b", [2, 3]),
        (None, "1,-1,0", [2]),
        (None, "MIG-GPU-aa1/1/0,0", []),
        (None, "0,7,1", [1]),
    ],
)
def test_a_worker_has_the_devices_that_it_may_see(
    wanted: tuple[int, ...] | None, visible: str | None, sizes: list[int]
) -> None:
    """All that CUDA would see in it, or those that its settings name."""
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    chosen = chosen_devices(FOUND, wanted, environ)
    assert [one.memory_bytes for one in chosen] == sizes


def test_an_index_that_is_not_to_be_had_is_refused() -> None:
    """The driver does not know it, or the worker may not see it."""
    with pytest.raises(BadSetting, match="gpus names device 3, and the driver knows 3"):
        chosen_devices(FOUND, (0, 3), {})
    with pytest.raises(BadSetting, match="gpus names device 2, which CUDA_VISIBLE_DEVICES hides"):
        chosen_devices(FOUND, (0, 2), {"CUDA_VISIBLE_DEVICES": "0,1"})


def test_a_kind_of_child_is_told_by_its_environment() -> None:
    """Threads and devices; what the worker's own environment says of threads stays."""
    kind = ChildKind(3, ("GPU-a", "GPU-b"))
    told = kind.environment({})
    assert {told[name] for name in told if name.endswith("_THREADS")} == {"3"}
    assert told["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"} <= set(told)
    set_by_user = PLAIN.environment({"OMP_NUM_THREADS": "8", "RAYON_NUM_THREADS": "2"})
    # What follows OMP_NUM_THREADS follows it.
    assert set(set_by_user) == {"POLARS_MAX_THREADS"}
    assert "OPENBLAS_NUM_THREADS" not in PLAIN.environment({"OPENBLAS_NUM_THREADS": "2"})
    assert "CUDA_VISIBLE_DEVICES" not in PLAIN.environment({})


def test_plain_children_are_for_plain_sets() -> None:
    """None is made while only jobs wait that need a child made for them."""
    plain, wide, gpu = (
        ("q", "takes.c1000:alone.m3"),
        ("q", "takes.c1001:alone"),
        ("q", "takes.g1:a"),
    )
    assert [is_plain(need) for _, need in (plain, wide, gpu)] == [True, False, False]
    assert may_be_plain([])
    assert may_be_plain([wide, plain])
    assert not may_be_plain([wide, gpu])


def test_a_child_suits_jobs_of_its_kind() -> None:
    """One that sees a GPU only those of the task that it ran last."""
    kinds: ChildKinds[str] = ChildKinds()
    gpu = ChildKind(1, ("GPU-a",))
    kinds.made("plain", PLAIN)
    kinds.made("gpu", gpu)
    kinds.begins("plain", "t")
    kinds.begins("gpu", "t")
    assert kinds.suits("plain", PLAIN, "other")
    assert not kinds.suits("plain", ChildKind(2), "t")
    assert kinds.suits("gpu", gpu, "t")
    assert not kinds.suits("gpu", gpu, "other")
    assert not kinds.suits("gpu", ChildKind(1, ("GPU-b",)), "t")
    assert not kinds.suits("gpu", ChildKind(1, ("GPU-a",), 5), "t"), "it may have more by now"
    assert kinds.on(["GPU-a", "GPU-c"], ["plain", "gpu", "unknown"]) == ["gpu"]
    assert kinds.warm("t", ["plain", "gpu"]) == {"GPU-a"}
    assert kinds.warm("other", ["plain", "gpu"]) == frozenset()
    kinds.forget("gpu")
    assert not kinds.suits("gpu", gpu, "t")


def raised(name: str, module: str, text: str = "", base: type[Exception] = Exception) -> Exception:
    """Return an exception of a class that only looks like a library's."""
    made: type[Exception] = type(name, (base,), {"__module__": module})
    return made(text)


SAID = "CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (raised("OutOfMemoryError", "torch", base=RuntimeError), True),
        (raised("OutOfMemoryError", "torch.cuda"), True),
        (raised("OutOfMemoryError", "cupy.cuda.memory", base=MemoryError), True),
        (raised("Mine", "app", base=type(raised("OutOfMemoryError", "torch"))), True),
        (raised("ResourceExhaustedError", "tensorflow.python.framework.errors_impl"), True),
        (raised("XlaRuntimeError", "jaxlib", "RESOURCE_EXHAUSTED: Out of memory allocating"), True),
        (RuntimeError(SAID), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("out of luck"), False),
        (ValueError(SAID), False),
        (raised("OutOfMemoryError", "torchlike"), False),
        (raised("OutOfMemoryError", "app"), False),
        (raised("XlaRuntimeError", "jaxlib", "INTERNAL: something"), False),
        (MemoryError(), False),
    ],
)
def test_a_gpu_that_is_full_is_told_by_names_and_texts(error: Exception, *, is_so: bool) -> None:
    """Of the class or one above it; no library is imported for that."""
    assert is_gpu_out_of_memory(error) == is_so


def test_a_full_gpu_is_no_want_of_the_machines_memory() -> None:
    """CuPy's error is a MemoryError as well; nobody has said yet what was set aside."""
    error = raised("OutOfMemoryError", "cupy.cuda.memory", base=MemoryError)
    verdicts = SimpleNamespace(retry_on=(), discard_on=())
    outcome = classify(error, verdicts, Stop.NONE)
    assert isinstance(outcome, o.OutOfMemory)
    assert (outcome.of_gpu, outcome.reserved_bytes) == (True, 0)
