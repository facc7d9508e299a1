"""The project's prose: which pages there are, and what the table of a workspace's files names."""

import re
from pathlib import Path

from tests.support.tiny import CHECKOUT

FILES_PAGE = CHECKOUT / "docs" / "files.md"


def pages() -> list[Path]:
    """Every page that people read."""
    found = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
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


def prose_of(page: Path) -> str:
    """A page without its code: blocks and words in backticks are left out."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^    .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`\n]+`", "CODE", text)
    # A line that goes on from the one before begins no sentence.
    return re.sub(r"(?<=[^\n])\n(?=[^\n|*#>\d-])", " ", text)


def heading_ids(page: Path) -> set[str]:
    """The names by which links refer to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def quoted(text: str) -> list[str]:
    """The quotations in single backticks, and each line of the blocks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return lines + re.findall(r"`([^`\n]+)`", rest)
