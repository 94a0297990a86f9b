"""Markdown as the checks of the documentation read it: headings, links, fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
_COMMENT = re.compile(r"^<!--\s*(?P<word>[a-z-]+):\s*(?P<text>.*?)\s*-->$")
_LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page.

    Attributes:
        line: line of the opening fence, from 1.
        language: first word after the fence, or "".
        text: what stands between the fences, with its final newline.
        comment: (word, text) of an HTML comment `<!-- word: text -->` on the line before, or None.
    """

    line: int
    language: str
    text: str
    comment: tuple[str, str] | None


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    lines = page.splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        end = next(
            (n for n in range(at + 1, len(lines)) if lines[n].strip() == fence["marks"]), len(lines)
        )
        inside = [line.removeprefix(fence["indent"]) for line in lines[at + 1 : end]]
        comment = _COMMENT.match(lines[at - 1].strip()) if at else None
        yield Block(
            line=at + 1,
            language=fence["info"].strip().split(" ")[0],
            text="".join(f"{line}\n" for line in inside),
            comment=(comment["word"], comment["text"]) if comment else None,
        )
        at = end + 1


def prose(page: str) -> str:
    """Return a page without its fenced blocks and code spans, line numbers kept."""
    return re.sub(r"`[^`\n]*`", "``", "\n".join(_without_blocks(page)))


def anchors(page: str) -> set[str]:
    """Return the anchors that the headings of a page make, as the usual renderers build them."""
    found: dict[str, int] = {}
    names = set()
    for line in _without_blocks(page):
        if heading := re.match(r"^#{1,6}\s+(?P<text>.*?)\s*#*$", line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"]).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            seen = found.get(slug, 0)
            found[slug] = seen + 1
            names.add(f"{slug}-{seen}" if seen else slug)
        names |= set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
    return names


def _without_blocks(page: str) -> list[str]:
    lines = page.splitlines()
    for block in blocks(page):
        height = block.text.count("\n") + 2
        lines[block.line - 1 : block.line - 1 + height] = [""] * height
    return lines


def broken_links(page: Path, root: Path) -> Iterator[str]:
    """Yield "LINE TARGET: why" for each link of a page into the repository that leads nowhere."""
    for number, line in enumerate(prose(page.read_text()).splitlines(), start=1):
        targets = [*_LINK.finditer(line), *_IMAGE.finditer(line)]
        for target in (match["target"] for match in targets):
            if why := _broken(target, page, root):
                yield f"{number} {target}: {why}"


def linked_pages(page: Path) -> list[Path]:
    """Return the files that a page links to, whether they exist or not."""
    targets = [
        match["target"].partition("#")[0] for match in _LINK.finditer(prose(page.read_text()))
    ]
    return [(page.parent / target).resolve() for target in targets if target]


def _broken(target: str, page: Path, root: Path) -> str | None:
    if re.match(r"^[a-z][a-z0-9+.-]*:", target):
        return None
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.is_relative_to(root):
        return "outside the repository"
    if not file.exists():
        return "no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
        return "no such heading"
    return None
