"""Secret arguments at rest: one encrypted box a job, beside its other arguments.

A payload is an object, parameter -> value. Those whose annotation holds a `Secret` are taken out
of it whole and stand in its first field, whose name no parameter may have:

    sealed, as stored    {"__secret":{"names":["token"],"key":"2026","box":"base64"},"user_id":1}
    left open, on a pipe {"__secret":{"names":["token"],"open":{"token":"..."}},"user_id":1}
    opened, to be read   {"token":"...","user_id":1}

The box is a random nonce and the AES-256-GCM of the arguments' JSON. What is authenticated with it
ties it to its place: the job's id, its task, the key's id and the names (ADR-0027).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from penstock.core.secret import KEY_BYTES, SHOWN, SecretKeys
from penstock.errors import BadSetting, SecretKeyMissing, SerializationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from penstock.broker.requests import EnqueueRequest
    from penstock.core.ids import JobId
    from penstock.core.job import Claimed

FIELD: Final = "__secret"
#: How a payload with secrets begins; one that only holds the word elsewhere is none.
_HEAD: Final = b'{"__secret":'
#: What is mixed into every box and digest, so that a key is of no use for anything else.
_PURPOSE: Final = "penstock secret arguments 1"
#: Bytes of the nonce, as GCM wants it. Random ones are safe for 2**32 boxes under one key.
_NONCE_BYTES: Final = 12
#: Bytes of the tag that GCM appends.
_TAG_BYTES: Final = 16
#: Bytes of a box's frame at most: field names, the key's id, quotes.
_FRAME_BYTES: Final = 128

_encode = msgspec.json.Encoder().encode


class _Box(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What stands in `FIELD`.

    Attributes:
        names: parameters that it holds.
        key: id of the key; "" where it is open.
        box: nonce and ciphertext; empty where it is open.
        open: the arguments themselves; never in a broker.
    """

    names: tuple[str, ...]
    key: str = ""
    box: bytes = b""
    open: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Sealer(Protocol):
    """Puts secret arguments into a payload; made by a worker's supervisor for its children."""

    def seal(self, payload: bytes, secrets: bytes, job_id: JobId, task: str) -> bytes:
        """Return `payload` with `secrets` in it, two JSON objects.

        Raises:
            SecretKeyMissing: there is no key; nothing was written.
        """
        ...

    def digest(self, digest: str) -> str:
        """Return the digest of a call with secrets as it may be stored."""
        ...


class LeftOpen:
    """The `Sealer` of a child, which has no key: its supervisor seals what it asks for."""

    def seal(self, payload: bytes, secrets: bytes, job_id: JobId, task: str) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the payload with the secrets in the open."""
        box = _Box(_names(secrets), open=msgspec.Raw(secrets))
        return _with_field(payload, _encode(box))

    def digest(self, digest: str) -> str:
        """Return it as it is."""
        return digest


class Seal:
    """Seals and opens under the keys of the settings.

    Args:
        keys: the first seals.
    """

    __slots__ = ("_ciphers", "_keys", "_mac_key")

    def __init__(self, keys: SecretKeys) -> None:
        self._keys = keys
        self._ciphers: dict[str, AESGCM] = {}
        self._mac_key: bytes | None = None

    def seal(self, payload: bytes, secrets: bytes, job_id: JobId, task: str) -> bytes:
        """Return the payload with the secrets sealed.

        Raises:
            SecretKeyMissing: there is no key; nothing was written.
            BadSetting: the library is not installed.
        """
        key_id, names = self._current(task), _names(secrets)
        nonce = os.urandom(_NONCE_BYTES)
        bound = _bound(job_id, task, key_id, names)
        text = self._cipher(key_id, job_id).encrypt(nonce, secrets, bound)
        return _with_field(payload, _encode(_Box(names, key_id, nonce + text)))

    def digest(self, digest: str) -> str:
        """Return a keyed digest: who reads the store cannot try likely secrets against it.

        Raises:
            SecretKeyMissing: there is no key.
        """
        import hashlib
        import hmac

        if self._mac_key is None:
            self._mac_key = self._derive(self._current("with a key"))
        return hmac.new(self._mac_key, digest.encode(), hashlib.sha256).hexdigest()

    def seal_open(self, request: EnqueueRequest) -> EnqueueRequest:
        """Return a child's request with what it left open sealed.

        Raises:
            SecretKeyMissing: there is no key; nothing was written.
            SerializationError: the payload is none that a child makes.
        """
        payload = bytes(request.spec.payload)
        if not payload.startswith(_HEAD):
            return request
        box, rest = _parted(payload)
        if box.open is msgspec.UNSET:
            raise SerializationError(f"arguments of task {request.spec.task} are sealed already")
        spec = request.spec
        sealed = self.seal(_encode(rest), bytes(box.open), request.id, spec.task)
        spec = msgspec.structs.replace(spec, payload=msgspec.Raw(sealed))
        digest = request.key_digest
        keyed = None if digest is None else self.digest(digest)
        return msgspec.structs.replace(request, spec=spec, key_digest=keyed)

    def opened(self, job: Claimed) -> Claimed:
        """Return a job with its secret arguments in their places; the same job if it has none.

        Raises:
            SecretKeyMissing: their key is not among ours, or the library is not installed: another
                worker may have it.
            SerializationError: they were changed, belong to another job, or are no box at all.
        """
        payload = bytes(job.spec.payload)
        if not payload.startswith(_HEAD):
            return job
        box, rest = _parted(payload)
        spec = job.spec
        bound = _bound(job.id, spec.task, box.key, box.names)
        text = self._decrypted(job, box, bound)
        try:
            secrets = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, ValueError) as error:
            raise SerializationError(_broken(spec.task, box.key)) from error
        whole = msgspec.Raw(_encode({**rest, **secrets}))
        return msgspec.structs.replace(job, spec=msgspec.structs.replace(spec, payload=whole))

    def _decrypted(self, job: Claimed, box: _Box, bound: bytes) -> bytes:
        nonce, text = box.box[:_NONCE_BYTES], box.box[_NONCE_BYTES:]
        if len(text) < _TAG_BYTES:
            raise SerializationError(_broken(job.spec.task, box.key))
        try:
            cipher = self._cipher(box.key, job.id)
            invalid_tag = _library("cryptography.exceptions").InvalidTag
        except BadSetting as error:
            # As with a key that is missing: nothing is wrong with the job.
            raise SecretKeyMissing(f"job {job.id}: {error}") from error
        try:
            return cipher.decrypt(nonce, text, bound)
        except invalid_tag as error:
            raise SerializationError(_broken(job.spec.task, box.key)) from error

    def _current(self, task: str) -> str:
        if self._keys.current is None:
            raise SecretKeyMissing(
                f"task {task} takes a Secret, and no key is set to encrypt it with: nothing was "
                "enqueued; set PENSTOCK_SECRET_KEYS to what `penstock new-key` prints"
            )
        return self._keys.current

    def _cipher(self, key_id: str, job_id: JobId) -> AESGCM:
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            key = self._keys.find(key_id)
            if key is None:
                raise SecretKeyMissing(
                    f"the secret arguments of job {job_id} are encrypted with key {key_id!r:.80}, "
                    f"which is not set here (set: {', '.join(self._keys.ids) or 'none'}): add it "
                    "to PENSTOCK_SECRET_KEYS of the worker"
                )
            cipher = self._ciphers[key_id] = _aesgcm(key)
        return cipher

    def _derive(self, key_id: str) -> bytes:
        """Return the key of digests: another one than that of the boxes, made from it."""
        key = self._keys.find(key_id)
        assert key is not None  # noqa: S101 - it is the current one
        return _hkdf(key)


def sealed_bytes(payload: bytes, secrets: bytes | None) -> int:
    """Return how long a payload is at most once its secrets are sealed."""
    if secrets is None:
        return len(payload)
    names = sum(len(name) + 3 for name in _names(secrets))
    box = (len(secrets) + _NONCE_BYTES + _TAG_BYTES + 2) // 3 * 4
    return len(payload) + names + box + _FRAME_BYTES


def shown(payload: msgspec.Raw) -> msgspec.Raw:
    """Return a payload as people may see it: `•••` for every secret argument."""
    text = bytes(payload)
    if not text.startswith(_HEAD):
        return payload
    try:
        box, rest = _parted(text)
    except SerializationError:
        # Whatever it is, it says that it holds secrets.
        return msgspec.Raw(_encode({FIELD: SHOWN}))
    veiled = msgspec.Raw(_encode(SHOWN))
    return msgspec.Raw(_encode({**rest, **dict.fromkeys(box.names, veiled)}))


def new_key() -> bytes:
    """Return a new key from the system's random source."""
    return os.urandom(KEY_BYTES)


def _names(secrets: bytes) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(secrets, type=dict[str, msgspec.Raw]))


def _with_field(payload: bytes, box: bytes) -> bytes:
    return b"%b%b%b%b" % (_HEAD, box, b"" if payload == b"{}" else b",", payload[1:])


def _parted(payload: bytes) -> tuple[_Box, dict[str, msgspec.Raw]]:
    """Return the box of a payload and its other arguments. Raises SerializationError."""
    try:
        rest = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(rest.pop(FIELD), type=_Box), rest
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SerializationError(f"field {FIELD} of a payload cannot be read: {error}") from error


def _bound(job_id: JobId, task: str, key_id: str, names: tuple[str, ...]) -> bytes:
    return _encode((_PURPOSE, job_id, task, key_id, names))


def _broken(task: str, key_id: str) -> str:
    return (
        f"the secret arguments of task {task!r:.200} cannot be decrypted with key {key_id!r:.80}: "
        "PENSTOCK_SECRET_KEYS has another key under that id here, or they were changed, or written "
        "for another job"
    )


def _aesgcm(key: bytes) -> AESGCM:
    made: AESGCM = _library("cryptography.hazmat.primitives.ciphers.aead").AESGCM(key)
    return made


def _hkdf(key: bytes) -> bytes:
    hkdf = _library("cryptography.hazmat.primitives.kdf.hkdf").HKDF
    sha256 = _library("cryptography.hazmat.primitives.hashes").SHA256
    made: bytes = hkdf(sha256(), KEY_BYTES, salt=None, info=f"{_PURPOSE}: digests".encode()).derive(
        key
    )
    return made


def _library(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadSetting(
            "secret arguments need the library cryptography, which is not installed: install "
            "penstock[encryption]"
        ) from error
