"""The Lua of the adapter: `lua/VERB.lua`, put together with what each verb builds on.

A script is `clock`, `args`, `queue`, the files it needs, and one line that calls what they define.
Scripts and not Functions, so that workers of two versions can share a server (design.md §5).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_COMMENT: Final = re.compile(r"^ *--.*\n", re.MULTILINE)
_FUNCTION: Final = re.compile(
    r"^(?:local )?function (?P<name>\w+)\(.*\n(?:.*\n)*?end\n", re.MULTILINE
)
_NAME: Final = re.compile(r"\w+")

#: Source of time in a script: the server's clock. Tests put another one in its place.
SERVER_CLOCK: Final = "clock"

#: What every script that reads a job, or moves one, is built on.
_JOBS: Final = ("pages", "sleepers", "state", "job")
#: The same, and what a job's end does to its children.
_ENDS: Final = (*_JOBS, "family")

#: What takes jobs out of ready sets.
_CLAIMS: Final = ("promote", "hold", "walk", "handout", "claim")

#: Script -> (files after those three, the line that makes the answer, whether it runs on a
#: full server). What ends jobs or keeps leases must run there, or it could never be drained.
_PARTS: Final[dict[str, tuple[tuple[str, ...], str, bool]]] = {
    "schema": (("schema",), "", True),
    "register": (("register",), "", True),
    "tags": ((), "return redis.call('HGETALL', root .. ':queues')", True),
    "enqueue": (("pages", "sleepers", "state", "enqueue"), "return enqueue()", False),
    "enqueue_special": ((*_ENDS, "enqueue", "special"), "return enqueue()", False),
    "claim": (
        (*_JOBS, *_CLAIMS),
        "local answer = claim(read_claim()) flush() return answer",
        True,
    ),
    "settle": (
        (*_ENDS, "settle"),
        "local answer = settle() flush() return answer",
        True,
    ),
    "cycle": (
        (*_ENDS, "settle", *_CLAIMS),
        (
            "local applied = settle() "
            "local answer = claim(read_claim()) flush() return {applied, answer}"
        ),
        True,
    ),
    "open_lease": (("lease",), "return open_lease()", True),
    "extend": (("lease",), "return extend()", True),
    "close_leases": (("lease",), "return close_leases()", True),
    "restate": (("lease",), "return restate()", True),
    "note": ((*_JOBS, "note"), "", False),
    "promote": (
        (*_JOBS, "promote"),
        (
            "local limit, from = number(), {} "
            "while at < #ARGV do from[#from + 1] = queue_named(arg()) end "
            "local jobs = promote(from, limit, wall_ms()) flush() return jobs"
        ),
        True,
    ),
    "expire": ((*_ENDS, "expire"), "", True),
    "reclaim": ((*_JOBS, "hold", "handout", "reclaim"), "", True),
    "prune": ((*_ENDS, "forget", "prune"), "", True),
    "cancel": ((*_ENDS, "cancel"), "", True),
    "requeue": ((*_ENDS, "requeue"), "", True),
    "delete": ((*_ENDS, "forget", "delete"), "", True),
    "pause": (("sleepers", "pause"), "", True),
    "forget_token": (("sleepers",), "take_token(arg()) return 1", True),
    "learn": (("learn",), "", False),
    "footprints": (("footprints",), "", True),
    "peek": ((*_ENDS, "inspection"), "return each(status_of)", True),
    "get": ((*_ENDS, "inspection"), "return each(record_of)", True),
    "list_jobs": ((*_ENDS, "inspection"), "return listing()", True),
    "counts": ((*_ENDS, "inspection"), "return counts()", True),
    "needs": ((*_ENDS, "inspection"), "return needs()", True),
    "leases": ((*_ENDS, "inspection"), "return leases()", True),
}


class Script:
    """One script.

    Attributes:
        name: its verb.
        text: Lua.
        sha: hexadecimal digest by which the server knows it.
    """

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@lru_cache(maxsize=4)
def read_scripts(clock: str | None = None) -> Mapping[str, Script]:
    """Return every script by name: a verb, or a quick or full variant of one.

    Cost: some 50 ms, once a process and clock; the files of a package do not change under it.

    Args:
        clock: Lua that defines `wall_ms` and `lease_ms`; None: the server's clock.
    """
    start = _read("clock") if clock is None else clock
    return MappingProxyType(
        {
            verb: Script(verb, _whole(start, parts, last, runs_when_full=runs_when_full))
            for verb, (parts, last, runs_when_full) in _PARTS.items()
        }
    )


def _whole(start: str, parts: tuple[str, ...], last: str, *, runs_when_full: bool) -> str:
    flags = "#!lua flags=allow-oom\n" if runs_when_full else "#!lua\n"
    return (
        flags + start + without_unused("".join(map(_read, ("args", "queue", *parts))) + last + "\n")
    )


def without_unused(text: str) -> str:
    """Return Lua without comments, and without functions that nothing in it needs.

    A script makes its functions anew at every call, a tenth of a microsecond each: five of the
    twenty that a single enqueue takes. A function begins and ends at the start of a line.
    """
    code = _COMMENT.sub("", text)
    functions = {found["name"]: found[0] for found in _FUNCTION.finditer(code)}
    used = _FUNCTION.sub("", code)
    reached: set[str] = set()
    waiting = [used]
    while waiting:
        named = set(_NAME.findall(waiting.pop())) & functions.keys()
        waiting += [functions[name] for name in named - reached]
        reached |= named
    return _FUNCTION.sub(lambda found: found[0] if found["name"] in reached else "", code)


def _read(name: str) -> str:
    return files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
