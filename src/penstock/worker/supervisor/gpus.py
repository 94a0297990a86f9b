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
#: How CUDA counts devices: faster ones first, unless it says PCI_BUS_ID; NVML counts by bus ids.
#: Source: CUDA C++ Programming Guide, environment variables.
_ORDER_ENV: Final = "CUDA_DEVICE_ORDER"
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
    if settings.gpus is None and _is_ambiguous(found, environ):
        _log.warning(
            "%s=%s names GPUs by number, and they are of several models here: this worker counts "
            "them as nvidia-smi does, programs with CUDA do so if %s=PCI_BUS_ID is set",
            DEVICES_ENV,
            environ[DEVICES_ENV],
            _ORDER_ENV,
        )
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
            it, says which those are.

    Raises:
        BadSetting: an index of a device that the driver does not know, or the worker may not see.
    """
    visible = _visible(found, environ)
    if wanted is None:
        return visible
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
    hidden = [index for index in wanted if found[index] not in visible]
    if hidden:
        raise BadSetting(
            f"gpus names device {hidden[0]}, which {DEVICES_ENV} hides from this worker: name it "
            "there too, or leave it out"
        )
    return tuple(found[index] for index in wanted)


def _visible(found: Sequence[Device], environ: Mapping[str, str]) -> tuple[Device, ...]:
    """Return what CUDA shows to a process. Source: CUDA C++ Programming Guide."""
    visible = environ.get(DEVICES_ENV)
    if visible is None:
        return tuple(found)
    chosen: list[Device] = []
    for word in _words(visible):
        one = _named(found, word)
        if one is None:
            # As CUDA reads it: what follows a word that names no device is not seen.
            break
        chosen.append(one)
    return tuple(dict.fromkeys(chosen))


def _words(visible: str) -> list[str]:
    return [word.strip() for word in visible.split(",")]


def _named(found: Sequence[Device], word: str) -> Device | None:
    """Return the device of a number or of the beginning of one UUID, None: there is none."""
    if word.isdecimal():
        return found[int(word)] if int(word) < len(found) else None
    if word.startswith(_PART_PREFIX) or not word:
        return None
    able = [one for one in found if one.uuid.startswith(word)]
    return able[0] if len(able) == 1 else None


def _is_ambiguous(found: Sequence[Device], environ: Mapping[str, str]) -> bool:
    """Return whether numbers may mean other devices to CUDA than to the driver."""
    is_by_number = any(word.isdecimal() for word in _words(environ.get(DEVICES_ENV, "")))
    models = {(one.name, one.memory_bytes) for one in found}
    return is_by_number and len(models) > 1 and environ.get(_ORDER_ENV) != "PCI_BUS_ID"
