"""What is to be done: jobs, when each comes, and what it takes. The same for all contestants."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any, Final

MIB: Final = 2**20
#: Milliseconds that a light job sleeps.
LIGHT_MS: Final = 20
#: Heavy jobs: seconds of processor time, and MiB really touched.
CPU_S: Final = (1.0, 3.0)
PEAK_MIB: Final = (512, 2_560)
#: Of ten jobs, nine are light.
LIGHT_EACH: Final = 9


@dataclass(frozen=True)
class Job:
    """One job of a trace.

    Attributes:
        number: unique in the trace.
        kind: "light" or "heavy".
        at_s: when it is put in, from the start.
        mib: memory that it touches.
        cpu_s: processor time that it uses.
    """

    number: int
    kind: str
    at_s: float
    mib: int = 0
    cpu_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def mixed(seed: int, heavy: int) -> list[Job]:
    """Return `heavy` heavy jobs that come at once, and nine light ones each while those last."""
    draw = random.Random(seed)
    jobs = [
        Job(number, "heavy", 0.0, draw.randint(*PEAK_MIB), round(draw.uniform(*CPU_S), 2))
        for number in range(heavy)
    ]
    # Two cores at work take half of the sum at best: the light ones come in that time.
    lasts_s = sum(job.cpu_s for job in jobs) / 2
    light = heavy * LIGHT_EACH
    return jobs + [
        Job(heavy + number, "light", 0.5 + (lasts_s - 0.5) * number / light)
        for number in range(light)
    ]


def history(seed: int, runs: int) -> list[Job]:
    """Return heavy jobs of before, which take the same memory and hardly any time."""
    draw = random.Random(seed + 1)
    return [Job(number, "heavy", 0.0, draw.randint(*PEAK_MIB), 0.05) for number in range(runs)]


def head_of_line(no_ops: int = 50, cpu_s: float = 3.0) -> list[Job]:
    """Return two jobs that hold the processor, and no-ops behind them."""
    heavy = [Job(number, "heavy", 0.0, 1, cpu_s) for number in range(2)]
    return heavy + [Job(2 + number, "noop", 0.2) for number in range(no_ops)]


def head_history(cpu_s: float = 3.0) -> list[Job]:
    """Return four runs of each of the two tasks, one after the other."""
    heavy = [Job(number, "heavy", (cpu_s + 0.2) * number, 1, cpu_s) for number in range(4)]
    return heavy + [Job(4 + number, "noop", 0.1 * number) for number in range(4)]
