"""Write the pages of docs/reference that are drawn from the code.

usage: python -m scripts.docs [--check]   (in the root of the repository; `make docs`)

With --check nothing is written, and the status is 1 when a page is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.reference import cli, documents, errors, settings, states, tables

FOLDER = Path(__file__).resolve().parent.parent / "docs/reference"

#: Name of a page -> what draws it.
PAGES: dict[str, Callable[[], str]] = {
    "cli": cli.page,
    "errors": errors.page,
    "json-documents": documents.page,
    "settings": settings.page,
    "states": states.page,
    "tables": tables.page,
}


def main() -> int:
    """Write the pages, or name those that are stale."""
    parser = argparse.ArgumentParser(prog="python -m scripts.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    stale = [page for page in PAGES if not is_fresh(page)]
    for page in stale:
        if not options.check:
            path(page).write_text(text(page))
        print(f"{'stale' if options.check else 'wrote'}: docs/reference/{page}.md")
    return int(options.check and bool(stale))


def path(page: str) -> Path:
    """Return where a page is kept."""
    return FOLDER / f"{page}.md"


def text(page: str) -> str:
    """Return a page as the code has it now."""
    return f"<!-- Written by `make docs` from the code; do not edit. -->\n\n{PAGES[page]()}"


def is_fresh(page: str) -> bool:
    """Tell whether the page that is kept says what the code says."""
    return path(page).is_file() and path(page).read_text() == text(page)


if __name__ == "__main__":
    sys.exit(main())
