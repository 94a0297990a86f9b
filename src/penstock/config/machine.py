"""How many GPUs this machine has, without the libraries of their maker."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: One folder for each GPU, made by NVIDIA's kernel module.
_GPUS: Final = Path("/proc/driver/nvidia/gpus")


def gpu_count(folder: Path = _GPUS) -> int:
    """Return the GPUs that the kernel's driver knows; 0 where there is no such driver.

    Args:
        folder: where the driver tells.
    """
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0
