"""The Lua of paged indexes by itself, on a real server: one call for each of its functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final

from redis import Redis
from redis.exceptions import NoScriptError

#: The line of `pages.lua` that says how large a page may grow.
PAGE_MAX_LINE: Final = re.compile(r"^local PAGE_MAX = (\d+)$", re.MULTILINE)

#: ARGV: what to do, and with what; see the methods of `Pages`.
_CALL = """
local index, what = root .. ':index', arg()
if what == 'put' then
  local entries = {}
  while at < #ARGV do entries[#entries + 1] = arg() end
  put(index, entries)
  return 1
end
if what == 'take_out' then take_out(index, arg()) return 1 end
if what == 'first_from' then return first_from(index, arg()) end
if what == 'first_entries' then return first_entries(index, number()) end
if what == 'last_entries' then return last_entries(index, arg(), number()) end
local pages = {}
for _, name in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local page = page_key(index, name)
  local encoding = redis.call('EXISTS', page) == 1 and redis.call('OBJECT', 'ENCODING', page)
  pages[#pages + 1] = {name, encoding, redis.call('ZRANGE', page, 0, -1)}
end
return {pages, redis.call('KEYS', '*')}
"""


def _read(name: str) -> str:
    return files("penstock.brokers.redis").joinpath("lua", f"{name}.lua").read_text()


def pages_text(page_max: int | None = None) -> str:
    """Return `pages.lua`, with another size of pages if one is given."""
    text = _read("pages")
    assert len(PAGE_MAX_LINE.findall(text)) == 1
    if page_max is None:
        return text
    return PAGE_MAX_LINE.sub(f"local PAGE_MAX = {page_max}", text)


def real_page_max() -> int:
    """Return how large a page may grow."""
    (found,) = PAGE_MAX_LINE.findall(pages_text())
    return int(found)


class Pages:
    """One index on a server that has no other keys.

    Attributes:
        page_max: how many entries a page may have.
    """

    def __init__(self, client: Redis, page_max: int, pages: str | None = None) -> None:
        """Empty the server. `pages`: another text of `pages.lua`."""
        self.page_max = page_max
        self._text = _read("args") + (pages or pages_text(page_max)) + _CALL
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()
        self._client = client
        client.flushall()

    def put(self, entries: Sequence[bytes]) -> None:
        """Put entries in that rise and are not there."""
        self._call("put", *entries)

    def take_out(self, entry: bytes) -> None:
        """Take an entry out, if it is there."""
        self._call("take_out", entry)

    def first_from(self, start: bytes) -> bytes | None:
        """Return the first entry that is not before `start`."""
        found: bytes | None = self._call("first_from", start)
        return found

    def first_entries(self, count: int) -> list[bytes]:
        """Return the first entries."""
        found: list[bytes] = self._call("first_entries", count)
        return found

    def last_entries(self, below: bytes, count: int) -> list[bytes]:
        """Return the last entries before `below`, falling; b"" stands for the end."""
        found: list[bytes] = self._call("last_entries", below, count)
        return found

    def entries(self) -> list[bytes]:
        """Return all entries, page by page, and check what must hold of pages.

        Each has a name in the index, and no other is there; it has entries, no more than it may,
        in order, in the compact encoding; none is before its name, nor behind the next one.
        """
        pages, keys = self._call("show")
        index = b"index:index"
        expected = {index + b":" + name for name, _, _ in pages} | ({index} if pages else set())
        assert set(keys) == expected
        for name, encoding, entries in pages:
            assert encoding == b"listpack", (name, encoding, len(entries))
            assert 0 < len(entries) <= self.page_max
            assert entries == sorted(set(entries))
            assert name <= entries[0]
        for (_, _, entries), (behind, _, _) in pairwise(pages):
            assert entries[-1] < behind
        return [entry for _, _, entries in pages for entry in entries]

    def _call(self, *words: str | bytes | int) -> Any:
        try:
            return self._client.evalsha(self._sha, 1, "index", *words)
        except NoScriptError:
            return self._client.eval(self._text, 1, "index", *words)
