"""Rules for names: queues, tasks, workers, tags, tenants, keys."""

from __future__ import annotations

import re
from typing import Final, NewType

from penstock.errors import BadSetting

QueueName = NewType("QueueName", str)
TaskName = NewType("TaskName", str)

#: Braces are refused because they are Redis Cluster's hash tag (SEC25 of the security checklist).
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z")
_WORKER_NAME: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,128}\Z")
#: Characters; an idempotency key is the user's text and may hold any printable character.
KEY_CHARS_MAX: Final = 256


def check_name(kind: str, value: object) -> str:
    """Return `value` if it is a legal name, where `kind` says what it names.

    Raises:
        BadSetting: the message names the value and the rule.
    """
    rule = _WORKER_NAME if kind == "worker" else _NAME
    if not isinstance(value, str) or not rule.match(value):
        signs = "letters, digits and _.:-" + ("@" if kind == "worker" else "")
        message = (
            f"{kind} name {value!r:.80} is not allowed: use 1 to 128 characters out of {signs}"
        )
        raise BadSetting(message)
    return value


def check_key(value: object) -> str:
    """Return `value` if it is a legal idempotency key.

    Raises:
        BadSetting: the message names the value and the rule.
    """
    if not isinstance(value, str) or not 0 < len(value) <= KEY_CHARS_MAX or not value.isprintable():
        message = f"key {value!r:.80} is not allowed: use 1 to {KEY_CHARS_MAX} printable characters"
        raise BadSetting(message)
    return value
