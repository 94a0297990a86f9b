"""The contract of the broker port as tests, for every broker, ours and yours.

Each case states one sentence of `broker.protocol` in its docstring. In a pytest module of yours:

    pytest.register_assert_rewrite("penstock.testing.conformance")

    @pytest.mark.parametrize("case", cases(MyHarness.capabilities), ids=str)
    def test_my_broker(case, tmp_path):
        harness = MyHarness(tmp_path)
        try:
            case.run(harness)
        finally:
            harness.close()
"""

from __future__ import annotations

from .cases import MODULES, Case, cases
from .harness import Capability, Harness
from .life import live
from .scene import Scene
from .snapshot import Snapshot, snapshot

__all__ = [
    "MODULES",
    "Capability",
    "Case",
    "Harness",
    "Scene",
    "Snapshot",
    "cases",
    "live",
    "snapshot",
]
