"""What a worker asks the other workers of its host to leave to it, for a job that waits."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.admission import Set
from penstock.core.demand import MEMORY, NO_DEMAND, demand_of

from .budget import Budget


class HostGate:
    """Asks for what is short, and for nothing else: a GPU may be busy for hours."""

    def __init__(self, budget: Budget) -> None:
        """Ask for nothing yet."""
        self._budget = budget

    def hold_for(self, one: Set) -> bool:
        """Ask the others to leave free what a set is short of that has waited long.

        GPUs are asked for in any case, so that they are there once memory is.

        False: another worker holds itself free already, and nothing is asked.
        """
        # What was held for another set, whose jobs are gone, is held no longer.
        self.open()
        demand = demand_of(one[1]) or NO_DEMAND
        if demand.takes_gpu and not self._budget.gpus.hold_gate(demand):
            return False
        if self.hold_memory(one):
            return True
        self._budget.gpus.open_gate()
        return False

    def hold_memory(self, one: Set) -> bool:
        """Ask for memory too, while that is short; False: another worker holds that gate."""
        budget = self._budget
        if budget.host is None:
            return True
        if MEMORY not in budget.short_of(one, budget.free):
            budget.host.open_gate()
            return True
        return budget.host.hold_gate(budget.counting.bytes_of(one))

    def open(self) -> None:
        """Let the others have all of that again."""
        self._budget.gpus.open_gate()
        if self._budget.host is not None:
            self._budget.host.open_gate()

    def ask_for(self, sets: Iterable[Set]) -> None:
        """Ask for the room of idle children on GPUs.

        Args:
            sets: whose jobs wait for other workers; none: nothing is asked any longer.
        """
        demands = (demand_of(need) or NO_DEMAND for _, need in sets)
        self._budget.gpus.ask_for(one for one in demands if one.takes_gpu)
