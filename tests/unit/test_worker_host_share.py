"""Pools of memory: a worker reserves from all that hold it, and from none if one is used up."""

from __future__ import annotations

from pathlib import Path

from penstock.config.quota import memory_bounds, memory_bytes
from penstock.worker.supervisor.host_ledger import HostLedger
from penstock.worker.supervisor.host_records import Record
from penstock.worker.supervisor.host_share import HostShare, Pool

GIB = 2**30


class Machine:
    """A machine of 16 GiB with services; each worker has a number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def worker(self, number: int, **groups: int) -> HostShare:
        """Return the share of a worker in the machine and in groups with limits."""
        bounds = {"machine": 16 * GIB, **groups}
        return HostShare([
            Pool(
                HostLedger(
                    self._folder / name, Record(number, 1), is_alive=lambda _: True
                ),
                size_bytes,
            )
            for name, size_bytes in bounds.items()
        ])  # fmt: skip


def test_services_with_limits_of_their_own_do_not_use_up_each_other(tmp_path: Path) -> None:
    """They share the machine alone; workers of one service share its limit as well."""
    machine = Machine(tmp_path)
    large, small, beside = machine.worker(1), machine.worker(2, s=4 * GIB), machine.worker(3)
    second = machine.worker(4, s=4 * GIB)
    assert large.take(8 * GIB)
    assert (small.pool_bytes, small.free_bytes(0)) == (4 * GIB, 4 * GIB)
    assert small.take(3 * GIB)
    assert second.free_bytes(0) == GIB
    assert not second.take(2 * GIB)
    assert beside.free_bytes(0) == 5 * GIB
    for one in (large, small, beside, second):
        one.close()


def test_what_one_pool_refuses_is_reserved_in_none(tmp_path: Path) -> None:
    """What was reserved before stays as it was, in each of them."""
    machine = Machine(tmp_path)
    one, other = machine.worker(1, s=4 * GIB), machine.worker(2, s=4 * GIB)
    assert one.take(GIB)
    assert other.take(2 * GIB)
    assert not one.take(3 * GIB)
    assert other.free_bytes(2 * GIB) == GIB
    alone = machine.worker(3)
    assert alone.free_bytes(0) == 13 * GIB
    for each in (one, other, alone):
        each.close()


def test_one_worker_holds_the_gates_of_its_pools(tmp_path: Path) -> None:
    """Who cannot hold all of them holds none."""
    machine = Machine(tmp_path)
    one, other = machine.worker(1, s=4 * GIB), machine.worker(2, t=4 * GIB)
    assert one.hold_gate(GIB)
    assert not other.hold_gate(GIB)
    third = machine.worker(3, t=4 * GIB)
    assert third.free_bytes(0) == 4 * GIB
    one.open_gate()
    assert third.hold_gate(GIB)
    for each in (one, other, third):
        each.close()


def test_every_limit_above_a_process_is_a_bound(tmp_path: Path) -> None:
    """Those of version 1 that say more than there is are none."""
    root, meminfo, own = tmp_path / "cgroup", tmp_path / "meminfo", tmp_path / "own"
    meminfo.write_text("MemTotal: 16777216 kB\n")
    own.write_text("0::/users/service\n")
    (root / "users/service").mkdir(parents=True)
    (root / "users/memory.max").write_text(f"{8 * GIB}\n")
    (root / "users/service/memory.max").write_text("max\n")
    (root / "memory.max").write_text(f"{2**63 - 4096}\n")
    found = memory_bounds(proc_cgroup=own, root=root, meminfo=meminfo)
    assert found == {"": 16 * GIB, str(root / "users"): 8 * GIB}
    assert memory_bytes(proc_cgroup=own, root=root, meminfo=meminfo) == 8 * GIB
    meminfo.unlink()
    (root / "users/memory.max").unlink()
    (root / "memory.max").unlink()
    assert memory_bytes(proc_cgroup=own, root=root, meminfo=meminfo) == 0
