"""Frames: how messages are cut out of a byte stream. Knows no I/O and no message.

One frame = 4 bytes big-endian length, then that many bytes of JSON.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Bytes of one frame: a payload, a result and their wrapping; more is a broken or hostile peer.
FRAME_BYTES_MAX: Final = 32 * 2**20
#: Bytes of the length in front of each frame.
_LENGTH_BYTES: Final = 4


def frame(message: msgspec.Struct) -> bytes:
    """Return the bytes of one message, length first.

    Raises:
        ValueError: longer than FRAME_BYTES_MAX; nothing was sent.
    """
    body = msgspec.json.encode(message)
    if len(body) > FRAME_BYTES_MAX:
        text = f"a frame of {len(body)} bytes is over FRAME_BYTES_MAX ({FRAME_BYTES_MAX})"
        raise ValueError(text)
    return len(body).to_bytes(_LENGTH_BYTES) + body


class FrameReader:
    """Cuts a byte stream into frame bodies; knows no I/O, so sync and async readers share it."""

    def __init__(self) -> None:
        """Start with an empty buffer."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes and return the bodies completed by them, oldest first.

        Raises:
            ValueError: a length over FRAME_BYTES_MAX: the peer is broken, close the channel.
        """
        self._buffer += data
        bodies: list[bytes] = []
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES])
            if length > FRAME_BYTES_MAX:
                text = f"a frame announces {length} bytes, over FRAME_BYTES_MAX ({FRAME_BYTES_MAX})"
                raise ValueError(text)
            if len(self._buffer) < _LENGTH_BYTES + length:
                break
            bodies.append(bytes(self._buffer[_LENGTH_BYTES : _LENGTH_BYTES + length]))
            del self._buffer[: _LENGTH_BYTES + length]
        return bodies
