"""The project's prose: which pages there are, and what the table of a workspace's files names."""

import re
from pathlib import Path

from tests.support.tiny import CHECKOUT

FILES_PAGE = CHECKOUT / "docs" / "files.md"


def pages() -> list[Path]:
    """Every page that people read."""
    found = [
        CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/runbook.md")
    ]
    found += sorted((CHECKOUT / "docs").rglob("*.md"))
    assert len(found) > 20
    return found


def name_of(page: Path) -> str:
    """The path of a page in the checkout; names tests."""
    return page.relative_to(CHECKOUT).as_posix()


def file_patterns() -> list[str]:
    """The patterns of the first columns of docs/files.md."""
    rows = re.findall(r"^\| (`.+?`) \| ", FILES_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    patterns = [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row)]
    assert len(patterns) > 50
    return patterns


def expression(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression: `<name>` is one part of a path, `...` any path below."""
    pieces = re.split(r"(<\w+>|\.\.\.)", pattern)
    words = {"...": ".+"}
    return re.compile(
        "".join(words.get(piece, "[^/]+" if piece.startswith("<") else re.escape(piece)) for piece in pieces)
    )
