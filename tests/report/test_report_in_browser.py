"""The report as a person meets it: opened from a file in a real browser, wide and narrow, light and dark."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.config.params import Params
from tasks.files import read_json, write_json
from tasks.report import wording
from tasks.stages import report
from tasks.workspace import Workspace
from tests.support.browser import NAMES, Browser, find_browser, running_browser
from tests.support.exhibits import report_on
from tests.support.sounds import encoded, sound_params, tone
from tests.support.tables import table_params
from tests.support.texts import text_params
from tests.support.workspaces import (
    CASES,
    FRESH,
    HOSTILE,
    HOSTILE_CLASSES,
    HOSTILE_PATHS,
    PROVEN,
    SEALED,
    Case,
    build_workspace,
)

ALL = [*CASES.values(), HOSTILE, SEALED, FRESH, PROVEN]
WAYS = [
    pytest.param(width, dark, id=f"{'dark' if dark else 'light'}-{width}")
    for width in (1280, 390)
    for dark in (False, True)
]

# The ratio of WCAG 2.1 (1.4.3) between every piece of text and what lies behind it; backgrounds may be
# half transparent, so they are laid over each other from the page upwards. SVG text has a `fill`.
LOW_CONTRAST = """
(() => {
  const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = color => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = color; context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(rgba(getComputedStyle(e).backgroundColor));
    return layers.reduce((under, [r, g, b, a]) => under.map((u, i) => u + ([r, g, b][i] - u) * a / 255), [255, 255, 255]);
  };
  const light = color => [.2126, .7152, .0722].reduce((sum, weight, i) => {
    const c = color[i] / 255;
    return sum + weight * (c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  }, 0);
  const low = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("title, desc, [hidden], .skip") || !element.getClientRects().length) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const ink = rgba(element.closest("svg") ? style.fill : style.color).slice(0, 3);
    const [bright, dim] = [light(ink), light(behind(element))].sort((a, b) => b - a);
    const ratio = (bright + .05) / (dim + .05);
    if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return {seen, low: [...new Set(low)]};
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not any(map(shutil.which, NAMES)) and "CI" not in os.environ:
        # A newcomer's first `make test` needs no system package; CI installs the browser and must find it.
        pytest.skip("no browser here: install the Debian package `chromium` to look at the report")
    with running_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, params: Params) -> dict[str, tuple[Workspace, Path]]:
    made = {}
    for case in ALL:
        workspace = build_workspace(tmp_path_factory.mktemp("browser") / "a #workspace", case)
        report.run(workspace, params, case.target)
        made[case.target] = workspace, workspace.stage("report", case.target) / "report.html"
    return made


def test_a_machine_without_a_browser_is_told_which_package_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AssertionError, match="install the Debian package `chromium`"):
        find_browser()


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.target)
def test_the_page_asks_the_network_for_nothing_and_the_console_stays_empty(
    browser: Browser, pages, case: Case
):
    page = pages[case.target][1]
    browser.open(page)
    asked = [url for url in browser.requested() if not url.startswith("data:")]
    assert asked == [page.as_uri()]
    assert browser.complaints() == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_verdict_and_the_rows_of_every_table_are_there(browser: Browser, pages, case: Case):
    workspace, page = pages[case.target]
    browser.open(page)
    verdict = read_json(workspace.stage("gate", case.target) / "verdict.json")
    checks = read_json(workspace.stage("validate", case.target) / "verdict.json")["checks"]
    assert browser.evaluate("document.getElementById('verdict-word').innerText").lower() == case.verdict
    assert browser.evaluate("document.querySelector('h1').getBoundingClientRect().bottom") < 300
    expected = {
        "result-table": 8 if case.num_holdout else 7,
        "candidates-table": len(case.accuracies),
        "checks-table": len(checks),
        "probe-table": 4,
        "digests-table": 5,
        "shares-table": len(case.classes),
        "domains-table": 10,
    }
    if case.num_holdout:
        expected |= {"classes-table": len(verdict["per_class"]), "confusion-1": len(case.classes)}
        expected |= {"confusion-2": len(case.classes)}
    if case.quarantined:
        expected["quarantine-target"] = len(case.quarantined)
    if case.to_label:
        expected["label-table"] = case.to_label
    found = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('table[id]')].map(t => [t.id, t.tBodies[0].rows.length]))"
    )
    assert {name: found.get(name) for name in expected} == expected


def test_a_hostile_name_is_text_and_never_an_element(browser: Browser, pages):
    browser.open(pages[HOSTILE.target][1])
    assert (
        browser.evaluate(
            "document.querySelectorAll('script, img, b > script, td h1, i:not([class],[style])').length"
        )
        == 0
    )
    assert browser.evaluate("document.title") == "site-9: promote · acclimate report"
    files = browser.evaluate(
        "[...document.querySelectorAll('#quarantine-target tbody .file')].map(e => e.textContent)"
    )
    assert sorted(files) == sorted(wording.visible(path) for path in HOSTILE_PATHS)
    assert '<img src=x onerror="document.title=1">.png' in files
    names = browser.evaluate(
        "[...document.querySelectorAll('#classes-table tbody th')].map(e => e.textContent)"
    )
    assert names == [wording.visible(name) for name in HOSTILE_CLASSES]
    assert "<b>bold</b> reason" in browser.evaluate("document.getElementById('reasons').innerText")


@pytest.mark.parametrize(("width", "dark"), WAYS)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.target)
def test_the_page_fits_its_window_and_every_picture_can_be_seen(
    browser: Browser, pages, case: Case, width, dark
):
    browser.open(pages[case.target][1], width=width, dark=dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    pictures = browser.evaluate(
        "[...document.querySelectorAll('svg[role=img]')].map(s => [s.getBoundingClientRect().width, s.getBBox().width])"
    )
    assert len(pictures) >= 7
    assert all(shown > 150 and drawn > 100 for shown, drawn in pictures)


@pytest.mark.parametrize(("width", "dark"), WAYS)
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.target)
def test_all_text_stands_out_from_what_lies_behind_it(browser: Browser, pages, case: Case, width, dark):
    browser.open(pages[case.target][1], width=width, dark=dark)
    found = browser.evaluate(LOW_CONTRAST)
    assert found["seen"] > 200
    assert found["low"] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_counts_can_be_read_on_every_shade_of_the_matrix(
    browser: Browser, tmp_path: Path, params: Params, dark
):
    case = CASES["hold"]
    workspace = build_workspace(tmp_path, case)
    path = workspace.stage("gate", case.target) / "verdict.json"
    rows = [[share if i == j else 0 for i in range(25)] for j, share in enumerate(range(2, 102, 4))]
    for j, row in enumerate(rows):
        row[(j + 1) % 25] = 100 - row[j]
    names = [f"{j:02}" for j in range(25)]
    confusion = {"classes": names, "source_only": rows, "selected": rows}
    write_json(path, read_json(path) | {"confusion": confusion})
    report.run(workspace, params, case.target)
    browser.open(workspace.stage("report", case.target) / "report.html", dark=dark)
    found = browser.evaluate(LOW_CONTRAST)
    assert found["seen"] > 2 * 25 * 25
    assert found["low"] == []


def test_dark_is_dark_and_print_is_always_light(browser: Browser, pages, tmp_path: Path):
    browser.open(pages["optdigits"][1], dark=True)
    background = "getComputedStyle(document.body).backgroundColor"
    assert browser.evaluate(background) == "rgb(15, 18, 23)"
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", media="print", features=dark)
    assert browser.evaluate(background) == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.body).color") == "rgb(26, 30, 38)"
    assert browser.evaluate("getComputedStyle(document.querySelector('.contents')).display") == "none"
    heights = "[...document.querySelectorAll('.tall')].map(e => getComputedStyle(e).maxHeight)"
    assert set(browser.evaluate(heights)) == {"none"}
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_links_of_the_page_lead_somewhere_in_it(browser: Browser, pages):
    browser.open(pages["depot-north"][1])
    links = browser.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert len(links) >= 10
    assert browser.evaluate(
        "[...document.querySelectorAll('a')].every(a => document.querySelector(a.getAttribute('href')))"
    )


# Examples -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports that show texts, sounds and rows, by kind."""
    folder = tmp_path_factory.mktemp("shown")
    hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    texts = {
        "texts/a.txt": hostile,
        "texts/b.txt": "זה ספר נהדר, באמת!",
        "texts/c.txt": "One line.\n\nAn" + "o" * 3000 + "ther.",
    }
    columns = {
        f"column number {number} with a long name": {"number": [0.0, *range(1, 17)]} for number in range(20)
    }
    rows = [{name: 17.25 if at == place else 8 for at, name in enumerate(columns)} for place in (3, 18)]
    lines = "".join(json.dumps(row | {hostile: hostile}) + "\n" for row in rows)
    return {
        "text": report_on(folder / "text", text_params(), {k: v.encode() for k, v in texts.items()}),
        "sound": report_on(
            folder / "sound",
            sound_params(),
            {f"sounds/{hertz}.wav": encoded(tone(hertz)) for hertz in (300, 900, 2700)},
        ),
        "table": report_on(
            folder / "table",
            table_params(columns=columns | {hostile: {"category": ["a", "b"]}}),
            {"rows/a.jsonl": lines.encode()},
        ),
    }


@pytest.mark.parametrize(("width", "dark"), WAYS)
@pytest.mark.parametrize("kind", ["text", "sound", "table"])
def test_examples_fit_the_page_can_be_read_and_ask_the_network_for_nothing(
    browser: Browser, shown, kind: str, width, dark
):
    browser.open(shown[kind], width=width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")

    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(
        "[...document.querySelectorAll('.exhibit')].every(one => one.scrollWidth <= one.clientWidth + 1)"
    )
    assert browser.evaluate(LOW_CONTRAST)["low"] == []
    assert [url for url in browser.requested() if not url.startswith("data:")] == [shown[kind].as_uri()]
    assert browser.complaints() == []
    assert browser.evaluate("document.title") == "depot-north: provisional · acclimate report"


def test_a_sound_plays_in_a_page_opened_from_disk_and_its_spectrogram_is_there(browser: Browser, shown):
    browser.open(shown["sound"])
    browser.evaluate(
        "document.querySelectorAll('audio').forEach(one => { one.preload = 'auto'; one.load(); })"
    )
    while browser.evaluate(
        "[...document.querySelectorAll('audio')].some(one => !one.error && one.readyState < 4)"
    ):
        pass

    lengths = browser.evaluate("[...document.querySelectorAll('audio')].map(one => one.duration)")
    assert lengths == pytest.approx([0.48] * 3, abs=0.001)
    assert (
        browser.evaluate(
            "[...document.querySelectorAll('.heard img')].map(one => [one.naturalWidth, one.naturalHeight])"
        )
        == [[240, 64]] * 3
    )
    assert browser.complaints() == []


def test_a_text_that_is_written_from_right_to_left_begins_at_the_right(browser: Browser, shown):
    browser.open(shown["text"])

    directions = browser.evaluate(
        "[...document.querySelectorAll('.exhibit p')].map(one => getComputedStyle(one).direction)"
    )
    assert directions == ["ltr", "rtl", "ltr"]
