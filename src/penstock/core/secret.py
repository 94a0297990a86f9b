"""A value that nobody must read on its way, and the keys under which it is stored."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable
from typing import Final, Generic, NoReturn, Self, TypeVar

from penstock.errors import BadSetting

T_co = TypeVar("T_co", covariant=True)

#: What is shown instead of a secret, everywhere.
SHOWN: Final = "•••"
#: Bytes of a key: AES-256.
KEY_BYTES: Final = 32
#: An id is stored beside what its key encrypts, and shown to people.
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


class Secret(Generic[T_co]):
    """A value that shows itself as `•••`, and that a broker stores encrypted.

    Annotate a task's parameter with it, `token: Secret[str]`, and pass `Secret("...")`: the whole
    argument is encrypted when it is enqueued and decrypted just before the task runs.

    It cannot be pickled, nor be written anywhere else (results, progress, checkpoints, arguments
    without that annotation): that is an error and not a leak.

    Args:
        value: what `reveal` returns.
    """

    __slots__ = ("__value",)

    def __init__(self, value: T_co) -> None:
        self.__value = value

    def reveal(self) -> T_co:
        """Return the value. What you do with it, put into an error text for example, shows it."""
        return self.__value

    def __repr__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return SHOWN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = self.__value, other.reveal()
        if isinstance(mine, str) and isinstance(theirs, str):
            # The time that it takes tells nothing of where two texts differ.
            return hmac.compare_digest(
                mine.encode("utf-8", "surrogatepass"), theirs.encode("utf-8", "surrogatepass")
            )
        if isinstance(mine, bytes) and isinstance(theirs, bytes):
            return hmac.compare_digest(mine, theirs)
        return bool(mine == theirs)

    def __hash__(self) -> int:
        return hash(self.__value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: pass it as an argument of a task")


class SecretKeys:
    """Keys by id, in order: the first encrypts, all decrypt. Shows its ids and no key.

    Args:
        keys: (id, key of `KEY_BYTES` bytes), the current one first.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[tuple[str, bytes]] = ()) -> None:
        self._keys = dict(keys)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "id:base64,id:base64"; "" holds none.

        Raises:
            BadSetting: an entry is wrong or an id is there twice; no error shows any of it.
        """
        entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(entries, start=1):
            key_id, _, encoded = entry.partition(":")
            key = _decoded(encoded)
            if not _KEY_ID.match(key_id) or key is None:
                raise BadSetting(
                    f"entry {number} of {len(entries)} is no key: write ID:KEY as `penstock "
                    "new-key` prints it, several with commas between; its text is not shown"
                )
            if key_id in keys:
                raise BadSetting(f"key id {key_id} stands there twice: give each key its own id")
            keys[key_id] = key
        return cls(keys.items())

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, that of the key that encrypts first."""
        return tuple(self._keys)

    @property
    def current(self) -> str | None:
        """Id of the key that encrypts; None: there is no key."""
        return next(iter(self._keys), None)

    def find(self, key_id: str) -> bytes | None:
        """Return the key of that id, None if there is none."""
        return self._keys.get(key_id)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<secret keys {', '.join(self._keys) or 'none'}>"


def key_text(key_id: str, key: bytes) -> str:
    """Return a key as it is written in the setting.

    Raises:
        BadSetting: the id is not allowed.
    """
    if not _KEY_ID.match(key_id):
        raise BadSetting(
            f"key id {key_id!r:.80} is not allowed: use 1 to 64 characters out of letters, digits "
            "and _.-"
        )
    return f"{key_id}:{base64.b64encode(key).decode()}"


def _decoded(encoded: str) -> bytes | None:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None
