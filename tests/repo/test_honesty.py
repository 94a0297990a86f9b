"""What the project says of itself: addresses, locks, links, fragments, decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repo.pages import broken_links, linked_pages
from tests.repo.repository import ROOT, name, project_files, report, text_files

# Put together here, so that this file does not name what it forbids.
_REGISTRIES = re.compile(
    "|".join(
        (
            "pypi" + r"\.org",
            "python" + r"hosted\.org",
            "npm" + r"js\.(?:org|com)",
            "yarn" + r"pkg\.com",
            r"(?:--index-url|--extra-index-url|--find-links|index_url)[ =]",
            r"\bregistry\." + r"[a-z0-9-]+\.[a-z]{2,}",
        )
    )
)
_MACHINE_PATHS = re.compile(
    r"(?<![\w.~$}])/(?:work/|root/|home/\w+/|tmp/brief|Users/\w+/)(?!\*)".replace(
        "work", "wor" + "k"
    )
)
_FRAGMENT = re.compile(r"^[a-z0-9][a-z0-9-]*\.(added|changed|fixed|security)\.md$")

#: Folders whose text files are lock files.
LOCK_FOLDERS = ("requirements", "locks")

#: Characters of one line of prose in a fragment.
FRAGMENT_COLUMNS_MAX = 100

#: Characters of one fragment: a few sentences for whoever upgrades.
FRAGMENT_CHARACTERS_MAX = 800


def matches(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """Yield "LINE WHAT" for each match of a pattern."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := pattern.search(line):
            yield f"{number} {found.group()}"


@pytest.mark.parametrize(
    ("pattern", "breach"),
    [
        (_REGISTRIES, "pip install --index" + "-url x"),
        (_REGISTRIES, "https://files.python" + "hosted.org/x"),
        (_MACHINE_PATHS, "cd /wor" + "k/main"),
        (_MACHINE_PATHS, "/ho" + "me/anna/penstock"),
    ],
)
def test_patterns_find_their_breach(pattern: re.Pattern[str], breach: str) -> None:
    """Each pattern of this page matches what it forbids."""
    assert list(matches(pattern, breach))


def test_no_registry_is_named() -> None:
    """No file names a package registry or an index: where packages come from is the machine's."""
    findings = [
        f"{file}:{found}" for file, text in text_files() for found in matches(_REGISTRIES, text)
    ]
    report(findings, "take the address away:")


def test_no_path_of_a_machine_is_named() -> None:
    """No file holds an absolute path of the machine that it was written on."""
    findings = [
        f"{file}:{found}" for file, text in text_files() for found in matches(_MACHINE_PATHS, text)
    ]
    report(findings, "use a path from the root of the repository:")


def unhashed(lock: str) -> Iterator[str]:
    """Yield each requirement of a lock file that is not pinned, or has no hash."""
    logical = re.sub(r"\\\n", " ", lock).splitlines()
    for line in (line.strip() for line in logical):
        if line and not line.startswith("#"):
            pinned = re.match(r"^[A-Za-z0-9_.\[\],-]+==[^\s;]+", line)
            if pinned is None or "--hash=sha256:" not in line or "://" in line:
                yield line.split(" --hash")[0]


def test_locks_are_pinned_with_hashes() -> None:
    """Every line of every lock file pins one version with its hashes, and names no address."""
    locks = [f for f in project_files() if f.suffix == ".txt" and f.parent.name in LOCK_FOLDERS]
    assert {"all.txt", "dev.txt", "lock.txt", "runtime.txt"} <= {lock.name for lock in locks}
    findings = [f"{name(lock)}: {line}" for lock in locks for line in unhashed(lock.read_text())]
    report(findings, "pin it with its hashes (make lock):")


def test_unhashed_requirements_are_found() -> None:
    """A requirement without a hash, without a pin, or from an address is found."""
    assert list(unhashed("rich==1.0\n")) == ["rich==1.0"]
    assert list(unhashed("rich>=1.0 \\\n    --hash=sha256:00\n"))
    assert list(unhashed("rich @ https://x/y --hash=sha256:00\n"))
    assert list(unhashed("rich==1.0 ; python_version < '4' \\\n    --hash=sha256:00\n")) == []


def test_locks_agree() -> None:
    """A package that stands in two of the installed sets has the same version in both."""
    versions: dict[str, dict[str, str]] = {}
    for lock in ("runtime", "dev", "all"):
        text = (ROOT / f"requirements/{lock}.txt").read_text()
        for package, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.MULTILINE):
            versions.setdefault(package, {})[lock] = version
    report([f"{p}: {v}" for p, v in versions.items() if len(set(v.values())) > 1], "make lock:")


def test_links_resolve() -> None:
    """Every link of a Markdown page into the repository leads to a file and a heading."""
    findings = [
        f"{name(file)}:{found}"
        for file in project_files()
        if file.suffix == ".md"
        for found in broken_links(file, ROOT)
    ]
    report(findings, "mend the link:")


def test_every_page_is_found_from_the_index() -> None:
    """Each page below docs/ can be reached by links from docs/index.md."""
    docs = ROOT / "docs"
    every = {file for file in project_files() if file.is_relative_to(docs) and file.suffix == ".md"}
    reached, ahead = set[Path](), [docs / "index.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        links = linked_pages(page)
        # A link to a folder, as to the decisions, shows all that is in it.
        links += [file for link in links if link.is_dir() for file in link.glob("*.md")]
        ahead += [link for link in links if link in every - reached]
    report(sorted(name(page) for page in every - reached), "link it from docs/index.md:")


def test_broken_links_are_found(tmp_path: Path) -> None:
    """A missing file, a missing heading and a way out of the repository are all reported."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`: three\n[a](#one-two-three) [b](https://x/y) [c](page.md#one-two-three)\n"
        "[d](gone.md) ![e](gone.png) [f](#gone)\n[g](../../x.md)\n"
        "```text\n[h](gone.md)\n# not a heading\n```\n`[i](gone.md)`\n[j](#not-a-heading)\n"
    )
    found = [line.split(":")[0] for line in broken_links(page, tmp_path)]
    assert found == ["3 gone.md", "3 #gone", "3 gone.png", "4 ../../x.md", "10 #not-a-heading"]


def malformed(fragment: str, text: str) -> Iterator[str]:
    """Yield what is wrong with one changelog fragment."""
    if not _FRAGMENT.match(fragment):
        yield "name it <topic>.<added|changed|fixed|security>.md, topic in lower case with dashes"
    if not re.match(r"^[A-Z`]", text) or not text.endswith(".\n") or text.endswith("\n\n"):
        yield "write sentences: a capital first, a period and one newline last"
    if len(text) > FRAGMENT_CHARACTERS_MAX:
        yield f"{len(text)} characters, limit {FRAGMENT_CHARACTERS_MAX}: tell users what changed"
    if any(len(line) > FRAGMENT_COLUMNS_MAX for line in text.splitlines()):
        yield f"break lines at {FRAGMENT_COLUMNS_MAX} characters"
    if re.search(r"^(#|[-*] )", text, re.MULTILINE):
        yield "no headings and no lists: the changelog makes one list item of it"


def test_fragments_are_well_formed() -> None:
    """Each file below changes/ follows the rule in CONTRIBUTING.md."""
    folder = ROOT / "changes"
    files = [f for f in project_files() if f.is_relative_to(folder) and f.name != "README.md"]
    assert files, "no fragment below changes/: what did this change tell its users?"
    findings = [f"{name(f)}: {wrong}" for f in files for wrong in malformed(f.name, f.read_text())]
    findings += [f"{name(f)}: no folders here" for f in files if f.parent != folder]
    report(findings, "CONTRIBUTING.md, 'Changelog':")


@pytest.mark.parametrize(
    ("fragment", "text"),
    [
        ("Retry.added.md", "Works.\n"),
        ("retry.new.md", "Works.\n"),
        ("retry.added.md", "works.\n"),
        ("retry.added.md", "Works\n"),
        ("retry.added.md", "# Works.\n"),
        ("retry.added.md", "Works. " * 200 + ".\n"),
    ],
)
def test_malformed_fragments_are_found(fragment: str, text: str) -> None:
    """A wrong name, no sentence, a heading and a wall of text are found."""
    assert list(malformed(fragment, text))
    assert list(malformed("retry-later.added.md", "Tasks can say when.\n")) == []


def unresolved(text: str) -> Iterator[str]:
    """Yield "LINE WHAT" for each decision or page that a text names and that is not there."""
    decisions = {f"ADR-{file.name[:4]}" for file in (ROOT / "docs/adr").glob("*.md")}
    for number, line in enumerate(text.splitlines(), start=1):
        for decision in re.findall(r"\bADR-\d{4}\b", line):
            if decision not in decisions:
                yield f"{number} {decision}"
        for page in re.findall(r"\bdocs/[\w/.-]+\.md\b", line):
            if not (ROOT / page).is_file():
                yield f"{number} {page}"


def test_what_the_source_refers_to_is_there() -> None:
    """Each decision and page of the docs that a comment, docstring or page names exists."""
    findings = [
        f"{file}:{found}"
        for file, text in text_files()
        if file.startswith(("src/", "docs/", "benchmarks/", "examples/")) or "/" not in file
        for found in unresolved(text)
    ]
    report(findings, "write it, or name another:")
    assert list(unresolved("See ADR-9999 and docs/gone.md.")) == ["1 ADR-9999", "1 docs/gone.md"]


#: Headings that a decision has, in this order.
ADR_HEADINGS = ["Context", "Decision", "Consequences", "What would change our mind"]


def adr_faults(file: str, text: str) -> Iterator[str]:
    """Yield what is wrong with one decision record."""
    number = re.match(r"^(\d{4})-[a-z0-9-]+\.md$", file)
    if number is None:
        yield "name it NNNN-some-words.md"
    elif not text.startswith(f"# ADR-{number[1]}: "):
        yield f"the first line is '# ADR-{number[1]}: title'"
    if re.findall(r"^## (.*)$", text, re.MULTILINE) != ADR_HEADINGS:
        yield f"the headings are {', '.join(ADR_HEADINGS)}"
    if not re.search(
        r"^Status: (proposed|accepted|superseded by \[ADR-\d{4}\])", text, re.MULTILINE
    ):
        yield "a line 'Status: accepted', 'proposed' or 'superseded by [ADR-NNNN](...)'"


def test_decisions_are_well_formed() -> None:
    """Each ADR has its number in name and title, a status, and the four headings."""
    files = sorted((ROOT / "docs/adr").glob("*.md"))
    findings = [f"{f.name}: {wrong}" for f in files for wrong in adr_faults(f.name, f.read_text())]
    numbers = [f.name[:4] for f in files]
    findings += [f"{n}: number used twice" for n in sorted(set(numbers)) if numbers.count(n) > 1]
    report(findings, "docs/adr/0000-template.md:")


def test_malformed_decisions_are_found() -> None:
    """A wrong name, title, status or heading is found."""
    assert list(adr_faults("one.md", "")) != []
    assert len(list(adr_faults("0001-one.md", "# ADR-0002: One\n"))) == len(
        ("title", "h", "status")
    )
