"""Payloads and records that no job should have, as bytes.

`PAYLOADS` stand for the arguments of `measure(text: str)`, `RECORDS` for the whole stored record of
a job, in which `TASK` stands for its task. Those in `HARMLESS` are odd and lawful: they may run.
"""

from __future__ import annotations

from typing import Final

#: Nesting, digits and size beyond what any caller means, and beyond what many parsers survive.
DEPTH: Final = 100_000
DIGITS: Final = 1_000_000
HUGE_BYTES: Final = 20 * 2**20

#: Name -> arguments as stored.
PAYLOADS: Final[dict[str, bytes]] = {
    "empty": b"",
    "blank": b"   ",
    "cut off": b'{"text": "abc',
    "trailing garbage": b'{"text": "abc"} and more',
    "two documents": b'{"text": "a"}{"text": "b"}',
    "single quotes": b"{'text': 'abc'}",
    "comment": b'{"text": "abc" /* no */}',
    "byte order mark": b'\xef\xbb\xbf{"text": "abc"}',
    "null": b"null",
    "list": b'["abc"]',
    "text": b'"abc"',
    "number": b"7",
    "no arguments": b"{}",
    "missing argument": b'{"texts": "abc"}',
    "one too many": b'{"text": "abc", "more": 1}',
    "argument is null": b'{"text": null}',
    "argument is a number": b'{"text": 7}',
    "argument is a list": b'{"text": ["abc"]}',
    "argument is an object": b'{"text": {"text": "abc"}}',
    "not a number": b'{"text": NaN}',
    "infinite": b'{"text": -Infinity}',
    "overflow": b'{"text": 1e999}',
    "a million digits": b'{"text": ' + b"7" * DIGITS + b"}",
    "deep list": b'{"text": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "deep object": b'{"text": ' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}",
    "deep and unclosed": b"[" * DEPTH,
    "lone surrogate": b'{"text": "\\ud800"}',
    "reversed surrogates": b'{"text": "\\udc00\\ud800"}',
    "not UTF-8": b'{"text": "\xff\xfe"}',
    "overlong UTF-8": b'{"text": "\xc0\x80"}',
    "raw NUL": b'{"text": "a\x00b"}',
    "raw newline": b'{"text": "a\nb"}',
    "only NUL": b"\x00" * 64,
    "binary": bytes(range(256)),
    "escaped NUL": b'{"text": "a\\u0000b"}',
    "same argument twice": b'{"text": "abc", "text": "def"}',
    "20 MiB": b'{"text": "' + b"x" * HUGE_BYTES + b'"}',
}

TASK: Final = b"<task>"
#: Name -> stored record.
RECORDS: Final[dict[str, bytes]] = {
    "no bytes": b"",
    "not JSON": b"\xde\xad\xbe\xef",
    "a list": b'["measure", {"text": "abc"}]',
    "no task": b'{"payload": {"text": "abc"}}',
    "no payload": b'{"task": "<task>"}',
    "task is a number": b'{"task": 7, "payload": {"text": "abc"}}',
    "task is a path to code": b'{"task": "os.system", "payload": {"command": "true"}}',
    "limit is text": b'{"task": "<task>", "payload": {"text": "abc"}, "timeout_ms": "soon"}',
    "of a later version": b'{"task": "<task>", "payload": {"text": "abc"}, "quantum": [1, 2]}',
}

#: Odd, and lawful: unknown fields are a later version's, the last of two equal names wins.
HARMLESS: Final = frozenset({"escaped NUL", "same argument twice", "20 MiB", "of a later version"})
#: A task that nobody registered is snoozed, not buried, in case a deploy is under way.
UNKNOWN: Final = frozenset({"task is a path to code"})
