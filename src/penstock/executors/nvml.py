"""The GPUs that NVIDIA's driver knows, asked through its management library (NVML).

Only what a worker must know of a device is asked, by seven calls: so this binding is written here,
and no package is needed for it (ADR-0032). Source: NVML API Reference Guide, NVIDIA.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Final

from penstock.core.devices import Device

#: The library as the driver installs it; containers get it mounted under this name.
LIBRARY: Final = "libnvidia-ml.so.1"
#: Variable that names another library: of a driver in an unusual place, or a stand-in of tests.
LIBRARY_ENV: Final = "PENSTOCK_NVML"
#: Bytes of a name or UUID with its end (NVML_DEVICE_NAME_V2_BUFFER_SIZE, _UUID_V2_BUFFER_SIZE).
_TEXT_BYTES: Final = 96
#: Devices that are asked for: four times what the largest single machines hold.
_DEVICES_MAX: Final = 64
#: NVML_ERROR_NOT_SUPPORTED: a device that shares the memory of the machine tells none of its own.
_NOT_SUPPORTED: Final = 3
#: Bytes that such a device counts as: it can be had as a whole, and nobody is given a share of it.
_SHARED_MEMORY_BYTES: Final = 2**20


class NvmlFailed(Exception):
    """The library is there, and does not answer as it should; the message says what it did."""


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`, in bytes."""

    _fields_ = [
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    ]


def list_devices(library: str = LIBRARY) -> tuple[Device, ...]:
    """Return the devices in the driver's order (of their bus ids); empty: there is no driver.

    May take a second, since the driver may have to wake up.

    Args:
        library: name or path.

    Raises:
        NvmlFailed: the driver is not loaded, or has lost a device.
    """
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return ()
    with _started(nvml):
        count = ctypes.c_uint()
        _call(nvml, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        return tuple(_device(nvml, index) for index in range(min(count.value, _DEVICES_MAX)))


@contextlib.contextmanager
def _started(nvml: ctypes.CDLL) -> Iterator[None]:
    _call(nvml, "nvmlInit_v2")
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _device(nvml: ctypes.CDLL, index: int) -> Device:
    handle = ctypes.c_void_p()
    _call(nvml, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
    uuid, name = _text(nvml, "nvmlDeviceGetUUID", handle), _text(nvml, "nvmlDeviceGetName", handle)
    memory = _Memory()
    status = nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    if status == _NOT_SUPPORTED:
        return Device(uuid, _SHARED_MEMORY_BYTES, name)
    _check("nvmlDeviceGetMemoryInfo", status)
    return Device(uuid, memory.total, name)


def _text(nvml: ctypes.CDLL, function: str, handle: ctypes.c_void_p) -> str:
    buffer = ctypes.create_string_buffer(_TEXT_BYTES)
    _call(nvml, function, handle, buffer, ctypes.c_uint(_TEXT_BYTES))
    return buffer.value.decode(errors="replace")


def _call(nvml: ctypes.CDLL, function: str, *arguments: object) -> None:
    try:
        found = getattr(nvml, function)
    except AttributeError:
        raise NvmlFailed(f"the NVML library has no {function}: it is no NVML of today") from None
    _check(function, found(*arguments))


def _check(function: str, status: int) -> None:
    if status != 0:
        raise NvmlFailed(f"{function} answers {status} (nvmlReturn_t): see nvidia-smi")
