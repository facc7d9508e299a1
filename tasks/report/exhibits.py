"""The examples that a page shows beside the names of their files, as far as they fit into it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from tasks.domains.contract import Reader, UnreadableExample
from tasks.domains.shown import Cell, Shown, shortened
from tasks.domains.unchanged import is_unchanged
from tasks.records.to_label import Disagreement
from tasks.report.layout import render

MOST_BYTES = 4_000_000
"""All examples of a page together; one that would exceed it stands there by the name of its file alone."""

WHOLE_BYTES = 3_000_000
"""Up to here examples are shown whole, and then in brief: without sound and picture, and with the beginning of a text."""

CELLS_AT_FIRST = 12
"""A row of more columns shows those that are unusual, and the first of the others; the rest opens with a click."""

IN_BRIEF = "The rest is in the file alone: the examples of a page take 4 MB at most."


def exhibits(listed: Sequence[Disagreement], reader: Reader, folder: Path) -> Mapping[str, Markup]:
    """HTML by path; nothing for a path that stands for its example.

    Args:
        listed: In the order in which they are to fit in.
        reader: Reads them.
        folder: data/<target>.
    """
    found: dict[str, Markup] = {}
    used = 0
    for one in listed:
        ways = zip(_ways(one, reader, folder / one.path), (WHOLE_BYTES, MOST_BYTES), strict=False)
        html = next((html for html, most in ways if used + len(html.encode()) <= most), None)
        if html is not None:
            found[one.path] = html
            used += len(html.encode())
    return found


def _ways(one: Disagreement, reader: Reader, path: Path) -> Iterator[Markup]:
    """An example whole, and in brief; nothing where the name of the file stands for it."""
    try:
        shown = reader.show(path)
        line = reader.excerpt(path) if shown is None else None
    except UnreadableExample as error:
        yield _laid_out(Shown(), note=f"It cannot be shown: {error.reason}.")
        return
    if shown is None and line is None:
        return
    if not is_unchanged(path, one.sha256, reader):
        yield _laid_out(Shown(), note="It changed since the models were compared, so it is not shown.")
        return
    shown = shown or Shown(text=line or "")
    yield _laid_out(shown)
    yield _in_brief(shown)


def _laid_out(shown: Shown, note: str = "") -> Markup:
    first, line = _at_first(shown.cells), shortened(shown.text)
    others = [cell for cell in shown.cells if cell not in first]
    return _page(replace(shown, text=line, cells=tuple(first)), note, whole=_whole(shown.text), others=others)


def _in_brief(shown: Shown) -> Markup:
    return _page(
        Shown(shown.told, shortened(shown.text), tuple(_at_first(shown.cells))), IN_BRIEF, whole="", others=()
    )


def _page(shown: Shown, note: str, *, whole: str, others: Sequence[Cell]) -> Markup:
    return Markup(render("example.html.j2", {"shown": shown, "note": note, "whole": whole, "others": others}))


def _whole(text: str) -> str:
    """``text`` where one line does not say all of it."""
    return "" if shortened(text) == text else text


def _at_first(cells: Sequence[Cell]) -> list[Cell]:
    """Up to `CELLS_AT_FIRST`, in their order."""
    chosen = sorted(cells, key=lambda cell: cell.remark is None)[:CELLS_AT_FIRST]
    return [cell for cell in cells if cell in chosen]
