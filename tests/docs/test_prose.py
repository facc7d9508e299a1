"""How the pages are written, and that what they link to exists."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.documents import heading_ids, name_of, pages, prose_of
from tests.support.tiny import CHECKOUT

MAX_README_WORDS = 800
# A phrase that reads as if translated, and the plain way to say it.
PHRASES = {
    r"\bholds? (?:the|a) (?:workspace|lock)\b": "has locked",
    r"\bspeaks? of\b": "refers to",
    r"(?:^|[.!?:|] +)Of ": "begin with the subject",
    r"\b(?:per cent|%|one|two|three|once|times|drawn|trained|images?|rows?|logits?|readers?|tones?|lines?"
    r"|files?|page|letter|word|class|map|dot|verdict|vote|cache|hundred) an? (?:image|file|domain|target"
    r"|candidate|class|method|row|record|stage|step|run|seed|batch|section|path|pool|preset|answer"
    r"|hold-out|channel|core|source|version|view)\b": "per",
    r"(?:^|[.!?:] +)What [a-z`][^.?!\n]*(?:[.!:\n]|$)": "name the subject",
}


def faults(text: str) -> list[str]:
    return [
        f"{match.group()!r}: write `{better}`"
        for phrase, better in PHRASES.items()
        for match in re.finditer(phrase, text, re.MULTILINE)
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "The verdict speaks of other bytes.",
        "It is long. Of the target only labels are read.",
        "It is computed once a domain.",
        "Each candidate is trained once a seed.",
        "Ten images a hold-out are drawn.",
        "What is left of a target is the hold-out.",
    ],
)
def test_a_sentence_that_reads_as_if_translated_is_found(sentence: str):
    assert len(faults(sentence)) == 1


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_pages_read_as_plain_english(page: Path):
    assert faults(prose_of(page)) == []


def commented_files() -> list[Path]:
    rooms = [CHECKOUT / name for name in ("tasks", "deploy", "benchmarks")]
    found = [CHECKOUT / name for name in ("params.yaml", "dvc.yaml", "Makefile", ".ci/run")]
    found += [path for room in rooms for kind in ("*.yaml", "Dockerfile*") for path in room.rglob(kind)]
    assert len(found) > 10
    return sorted(found)


@pytest.mark.parametrize("path", commented_files(), ids=name_of)
def test_comments_of_settings_read_as_plain_english(path: Path):
    comments = re.findall(r"(?:^|\s)# +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)

    assert [fault for comment in comments for fault in faults(comment)] == []


def texts_of(module: Path) -> Iterator[str]:
    """Every string and every comment of a module, each in one line; X stands for a value filled in."""
    source = module.read_text(encoding="utf-8")
    for text in (*strings_of(source), *comments_of(source)):
        yield re.sub(r"\s*\n\s*", " ", text)


def strings_of(source: str) -> Iterator[str]:
    nodes = list(ast.walk(ast.parse(source)))
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def comments_of(source: str) -> list[str]:
    """Comments without their marks; one that goes on in the next line is one text."""
    texts: list[str] = []
    row, column = 0, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        words = token.string.lstrip("# ")
        if token.start == (row + 1, column):
            texts[-1] += f"\n{words}"
        else:
            texts.append(words)
        row, column = token.start
    return texts


def code_files() -> list[Path]:
    rooms = ("flows", "tasks", "deploy", "benchmarks", "tests")
    found = [path for room in rooms for path in (CHECKOUT / room).rglob("*.py") if path != Path(__file__)]
    assert len(found) > 200
    return sorted(found)


@pytest.mark.parametrize("path", code_files(), ids=name_of)
def test_messages_docstrings_and_comments_read_as_plain_english(path: Path):
    assert [fault for text in texts_of(path) for fault in faults(text)] == []


def test_a_fault_in_any_text_of_the_code_is_found(tmp_path: Path):
    module = tmp_path / "module.py"
    module.write_text(
        '"""What a candidate must satisfy; a rule is off where it is left out."""\n'
        "# The scores are computed once\n# a domain.\n"
        "def verdict(name):\n"
        '    return f"{name} is long.\\n  Of {name} only labels are read."\n'
    )

    assert [fault for text in texts_of(module) for fault in faults(text)] == [
        "'What a candidate must satisfy; a rule is off where it is left out.': write `name the subject`",
        "'. Of ': write `begin with the subject`",
        "'once a domain': write `per`",
    ]


def test_the_readme_is_short():
    assert len((CHECKOUT / "README.md").read_text(encoding="utf-8").split()) <= MAX_README_WORDS


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_are_relative_and_lead_somewhere(page: Path):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not leads_somewhere(page, unquote(link))] == []


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    place = (page.parent / path).resolve() if path else page
    return (
        place.is_relative_to(CHECKOUT) and place.exists() and (not heading or heading in heading_ids(place))
    )


def test_a_link_that_leads_nowhere_is_found():
    readme = CHECKOUT / "README.md"

    assert not leads_somewhere(readme, "docs/no-such-page.md")
    assert not leads_somewhere(readme, "docs/results.md#no-such-heading")
    assert not leads_somewhere(readme, "https://example.org")


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [CHECKOUT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8"))
        places = [(page.parent / link).resolve() for link in linked]
        inside = [found for place in places for found in (place.glob("*.md") if place.is_dir() else [place])]
        waiting += [place for place in inside if place.suffix == ".md" and place not in reached]

    assert [name_of(page) for page in pages() if page not in reached and page.name != "CHANGELOG.md"] == []
