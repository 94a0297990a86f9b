"""A Google style docstring as Markdown."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^(?P<title>Args|Attributes|Raises|Returns|Yields):$")
_ITEM = re.compile(r"^    (?P<name>[\w.*]+)(?: \([^)]*\))?: (?P<text>.*)$")


def markdown(thing: object) -> str:
    """Return the docstring of a class or function, its sections as lists."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    out: list[str] = []
    inside = False
    for line in lines:
        if section := _SECTION.match(line):
            inside = True
            out.append(f"{section['title']}:\n")
        elif inside and (item := _ITEM.match(line)):
            out.append(f"- `{item['name']}`: {item['text']}")
        elif inside and line.startswith("    "):
            out.append(f"  {line.strip()}")
        else:
            inside = inside and not line
            out.append(line)
    return "\n".join(out).strip()
