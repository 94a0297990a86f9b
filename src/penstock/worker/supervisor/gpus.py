"""The GPUs of a worker, found as it starts."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from penstock.config.settings import Settings
from penstock.core.devices import Device
from penstock.errors import BadSetting
from penstock.executors.nvml import LIBRARY, LIBRARY_ENV, NvmlFailed, list_devices

from .child_kinds import DEVICES_ENV

_log = logging.getLogger("penstock.worker")

#: Seconds that the driver is given: it wakes up within two, and one that has lost a device may
#: never answer.
_PATIENCE_S: Final = 15.0
#: Begins the UUID of a part of a device (Multi-Instance GPU).
_PART_PREFIX: Final = "MIG-"


async def find_gpus(settings: Settings, environ: Mapping[str, str]) -> tuple[Device, ...]:
    """Return the GPUs whose parts jobs may have.

    A driver that fails or does not answer is told in the log and counts as none.

    Raises:
        BadSetting: the settings name a device that is not there.
    """
    if settings.gpus == ():
        return ()
    found: tuple[Device, ...] = ()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            found = await _ask(environ.get(LIBRARY_ENV) or LIBRARY)
    except NvmlFailed as error:
        _log.warning("this worker has no GPUs: %s", error)
    except TimeoutError:
        _log.warning("this worker has no GPUs: NVML has not answered for %.0f s", _PATIENCE_S)
    chosen = chosen_devices(found, settings.gpus, environ)
    for one in chosen:
        _log.info("GPU %s: %s, %.1f GiB", one.uuid, one.name, one.memory_bytes / 2**30)
    return chosen


async def _ask(library: str) -> tuple[Device, ...]:
    """Ask in a thread of its own, which the process does not wait for when it ends."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[Device, ...]] = loop.create_future()

    def tell(found: tuple[Device, ...] | NvmlFailed) -> None:
        if answer.done():
            return
        if isinstance(found, NvmlFailed):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        try:
            found: tuple[Device, ...] | NvmlFailed = list_devices(library)
        except NvmlFailed as error:
            found = error
        loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=ask, name="nvml", daemon=True).start()
    return await answer


def chosen_devices(
    found: Sequence[Device], wanted: Sequence[int] | None, environ: Mapping[str, str]
) -> tuple[Device, ...]:
    """Return the devices of a worker, of those that the driver knows.

    Args:
        found: in the driver's order.
        wanted: indexes into them; None: all that the worker itself may see.
        environ: of the worker; CUDA_VISIBLE_DEVICES there, as a batch system or a container sets
            it, narrows what is meant by all. Source for its form: CUDA C++ Programming Guide.

    Raises:
        BadSetting: an index that the driver does not know.
    """
    if wanted is not None:
        missing = [index for index in wanted if index >= len(found)]
        if missing and not found:
            raise BadSetting(
                f"gpus names device {missing[0]}, and no GPU was found here: leave gpus out, or "
                "give none"
            )
        if missing:
            raise BadSetting(
                f"gpus names device {missing[0]}, and the driver knows {len(found)}: give indexes "
                "from 0 up, all, or none"
            )
        return tuple(found[index] for index in wanted)
    visible = environ.get(DEVICES_ENV)
    if visible is None:
        return tuple(found)
    chosen: list[Device] = []
    for word in (part.strip() for part in visible.split(",")):
        one = _named(found, word)
        if one is None:
            # As CUDA reads it: what follows a word that names no device is not seen.
            break
        chosen.append(one)
    return tuple(dict.fromkeys(chosen))


def _named(found: Sequence[Device], word: str) -> Device | None:
    if word.isdecimal():
        return found[int(word)] if int(word) < len(found) else None
    if word.startswith(_PART_PREFIX) or not word:
        return None
    return next((one for one in found if one.uuid.startswith(word)), None)
