"""The demo's pure parts: facts of one file, their merge, the choice of files, the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.demo.analysis import NAMES_KEPT, FileFacts, facts_of, merge
from penstock.demo.files import FILE_BYTES_MAX, FILES_MAX, folder, standard_library
from penstock.demo.report import page
from penstock.errors import BadSetting

MODULE = b'''
import os

class Shop:
    """Sells."""

    def sell(self, what):
        """Sell it."""
        if what:
            for part in what:
                print(part, what)
        return [p for p in what if p or what]

async def close(): ...
'''


def test_facts_of_a_module() -> None:
    """Functions are found at any depth, with length, branches and docstrings; names are counted."""
    facts = facts_of("/shop.py", MODULE)
    assert (facts.kind, facts.bytes, facts.lines) == ("python", len(MODULE), 14)
    assert (facts.functions, facts.classes, facts.documented) == (2, 1, 1)
    assert facts.longest is not None
    assert (facts.longest.name, facts.longest.line, facts.longest.lines) == ("Shop.sell", 7, 6)
    assert facts.longest.branches == 5  # one way, and: if, for, a comprehension, `or`
    assert facts.names == {"what": 5, "p": 3, "part": 2, "print": 1}
    assert facts.flaw is None


@pytest.mark.parametrize(
    ("path", "content", "kind", "lines", "flaw"),
    [
        ("/a.py", b"def broken(:\n", "python", 1, "SyntaxError"),
        ("/a.py", b"x = '\xff'\n", "python", 1, "SyntaxError"),
        ("/a.py", b"(" * 5_000, "python", 1, "Error"),
        ("/a.txt", b"one two two\nthree", "text", 2, None),
        ("/a.txt", b"\xff\xfe words", "text", 1, None),
        ("/a.png", b"\x89PNG\0\0\n", "binary", 0, None),
    ],
)
def test_any_content_gives_facts(
    path: str, content: bytes, kind: str, lines: int, flaw: str | None
) -> None:
    """No content raises: what cannot be parsed is a flaw, what is not text is binary."""
    facts = facts_of(path, content)
    assert (facts.kind, facts.lines) == (kind, lines)
    assert (facts.flaw is None) == (flaw is None)
    assert flaw is None or flaw in (facts.flaw or "")


def test_a_deeply_nested_module_is_analysed() -> None:
    """An expression nested deeper than Python calls may be does not stop the search."""
    content = b"x = " + b"+".join([b"1"] * 3_000) + b"\ndef f(): pass\n"
    facts = facts_of("/deep.py", content)
    assert facts.functions == 1 or facts.flaw is not None


def test_only_the_most_frequent_names_are_kept() -> None:
    """Names beyond the limit are dropped, the less frequent and later ones first."""
    text = " ".join(f"word{n:03d} " * (2 if n < 10 else 1) for n in range(100))
    names = facts_of("/a.txt", text.encode()).names
    assert len(names) == NAMES_KEPT
    assert list(names)[:2] == ["word000", "word001"]
    assert "word099" not in names


def test_merge_adds_up_and_orders() -> None:
    """Sums are those of the files; tops are ordered by number, then by name."""
    one = facts_of("/shop.py", MODULE)
    two = FileFacts(path="/b.txt", kind="text", bytes=3, lines=9, names={"part": 3, "alpha": 5})
    report = merge([one, two])
    assert (report.files, report.lines, report.functions) == (2, 23, 2)
    assert report.top_names[:3] == (("alpha", 5), ("part", 5), ("what", 5))
    assert report.largest_files == (("/shop.py", 14), ("/b.txt", 9))
    assert [path for path, _ in report.longest_functions] == ["/shop.py"]
    assert merge([two, one]) == report
    text = page(report)
    assert "| lines | 23 |" in text
    assert "Shop.sell, 5 branches, //shop.py:7" in text
    assert page(merge([two])).count("| function | lines |") == 1


def test_the_standard_library_has_hundreds_of_modules() -> None:
    """The default choice is every module of this Python's library, without its tests."""
    choice = standard_library()
    assert 300 < len(choice.paths) <= FILES_MAX
    assert all(path.endswith(".py") for path in choice.paths)
    assert not any({"test", "tests", "site-packages"} & set(Path(p).parts) for p in choice.paths)
    assert str(Path(choice.root, "json", "decoder.py")) in choice.paths


def test_a_folder_gives_its_readable_files(tmp_path: Path) -> None:
    """Regular files of every kind are taken in order; odd ones are counted as left out."""
    for name in ("b.py", "a.txt", "sub/c.md", ".hidden", ".git/config", "__pycache__/x.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    (tmp_path / "link").symlink_to(tmp_path / "b.py")
    choice = folder(str(tmp_path))
    assert [Path(path).name for path in choice.paths] == ["a.txt", "b.py", "c.md"]
    assert choice.left_out == 3


def test_no_more_files_than_one_merge_job_can_wait_for(tmp_path: Path) -> None:
    """Files beyond the bound are left out and counted."""
    for number in range(FILES_MAX + 5):
        (tmp_path / f"{number:04d}.txt").write_text("x")
    choice = folder(str(tmp_path))
    assert (len(choice.paths), choice.left_out) == (FILES_MAX, 5)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    """A missing folder, a file and an empty folder are refused with what to do."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, part in (
        ("none", "does not exist"),
        ("file", "is not a folder"),
        ("empty", "holds no file to analyse"),
    ):
        with pytest.raises(BadSetting, match=part):
            folder(str(tmp_path / name))
