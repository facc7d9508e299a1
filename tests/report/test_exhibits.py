"""Examples in the report: a text to read, a recording to hear and see, a row with what is unusual about it."""

import base64
import hashlib
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.records.to_label import Disagreement
from tasks.report.exhibits import IN_BRIEF, MOST_BYTES, exhibits
from tasks.workspace import Workspace
from tests.support.exhibits import page_of, report_on
from tests.support.sounds import encoded, sound_params, tone
from tests.support.tables import table_params
from tests.support.texts import text_params
from tests.support.vectors import Vectors
from tests.support.workspaces import PROVISIONAL

HOSTILE = '</td><script>alert(1)</script><img src=x onerror="alert(2)">&\u202e'
COLUMNS = {
    "torque": {"number": [0.0, 2.5, 5.0, 7.5, 10.0]},
    "grade": {"category": ["high", "low"]},
}


class Listed(HTMLParser):
    """The table of examples to label: elements with their attributes, and the text of each row."""

    def __init__(self, page: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.html = page.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.text_by_tag: dict[str, list[str]] = {}
        self._open: list[str] = []
        start = self.html.index('<table id="label-table"')
        self.feed(self.html[start : self.html.index("</table>", start)])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "tr":
            self.rows.append("")
        self.text_by_tag.setdefault(tag, []).append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += data
        if self._open:
            self.text_by_tag[self._open[-1]][-1] += data

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_text_is_there_to_read_in_its_direction_and_a_long_one_opens_whole(tmp_path: Path):
    files = {
        "texts/a.txt": b"Short and good.",
        "texts/b.txt": "זה ספר נהדר".encode(),
        "texts/c.txt": b"One line.\n\nAnother line. " + b"word " * 200,
        "texts/d.txt": "می\u200cخواهم".encode(),
    }

    page = Listed(report_on(tmp_path, text_params(), files))

    assert [attributes.get("dir") for attributes in page.all("p")] == ["auto"] * 4
    assert page.text_by_tag["p"][0] == "Short and good."
    assert page.text_by_tag["p"][2] == "One line. Another line. " + "word " * 95 + "w ..."
    assert page.text_by_tag["p"][3] == "می\u200cخواهم"
    assert page.all("pre") == [{"dir": "auto"}]
    assert page.text_by_tag["pre"][0].startswith("One line.\n\nAnother line. word")
    assert page.text_by_tag["summary"] == ["The whole text, 1,024 characters"]
    assert "15 characters" in page.rows[1]


def test_a_recording_can_be_played_and_seen_beside_its_length_from_the_page_alone(tmp_path: Path):
    files = {"sounds/a.wav": encoded(tone(440, seconds=0.25)), "sounds/b.wav": encoded(tone(880))}

    page = Listed(report_on(tmp_path, sound_params(), files))

    players, pictures = page.all("audio"), page.all("img")
    assert len(players) == len(pictures) == 2
    assert all("controls" in player and player["preload"] == "none" for player in players)
    assert players[0]["aria-label"] == "Sound of 0.25 s, as the model hears it"
    head, content = str(players[0]["src"]).split(",")
    assert head == "data:audio/flac;base64"
    assert len(soundfile.read(io.BytesIO(base64.b64decode(content)))[0]) == 2000
    assert str(pictures[0]["src"]).startswith("data:image/png;base64,iVBORw0KGgo")
    assert pictures[0]["alt"] == "Spectrogram: 0.25 s from left to right, 0 to 4,000 Hz from below to above"
    assert "0.25 s" in page.rows[1]
    assert "0.50 s; the loudest 0.48 s are played" in page.rows[2]
    assert "media-src data:" in page.html


def test_a_row_is_shown_column_by_column_and_says_in_words_what_is_unusual(tmp_path: Path):
    rows = "torque,grade\n5,low\n76.3,odd\n,high\n"

    page = Listed(report_on(tmp_path, table_params(columns=COLUMNS), {"rows/a.csv": rows.encode()}))

    assert page.text_by_tag["dt"] == [""] * 6
    assert [words.strip() for words in page.text_by_tag["span"]] == [
        "above the source's largest, 10",
        "none of the source's 2 categories",
        "missing, which it never is in the source",
    ]
    assert [attributes.get("class") for attributes in page.all("div")].count("unusual") == 3
    assert "76.3" in page.rows[2]
    assert "—" in page.rows[3]


def test_a_row_of_many_columns_shows_twelve_with_the_unusual_and_the_rest_opens(tmp_path: Path):
    columns = {f"c{number}": {"number": [0.0, 1.0]} for number in range(20)}
    row = {f"c{number}": 0.5 for number in range(20)} | {"c17": 3}

    page = Listed(
        report_on(tmp_path, table_params(columns=columns), {"rows/a.jsonl": json.dumps(row).encode()})
    )

    names = [name for name in page.text_by_tag["bdi"] if name.startswith("c")]
    assert names[:12] == [*(f"c{number}" for number in range(11)), "c17"]
    assert len(names) == 20
    assert page.text_by_tag["summary"] == ["8 further columns"]


def test_nothing_that_comes_from_data_becomes_markup(tmp_path: Path):
    named = HOSTILE.replace("/", "").replace("\u202e", "")
    texts = {f"texts/{named}.txt": HOSTILE.encode(), "texts/b.txt": (HOSTILE * 100).encode()}
    row = json.dumps({HOSTILE: HOSTILE, "torque": 1}) + "\n"
    columns = {HOSTILE: {"category": ["a", HOSTILE[:-1]]}, "torque": {"number": [0.0, 1.0]}}
    pages = [
        Listed(report_on(tmp_path / "texts", text_params(), texts)),
        Listed(report_on(tmp_path / "rows", table_params(columns=columns), {"rows/a.jsonl": row.encode()})),
        Listed(report_on(tmp_path / "sounds", sound_params(), {f"sounds/{named}.wav": encoded(tone(440))})),
    ]

    for page in pages:
        assert "<script" not in page.html
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
        assert "\u202e" not in page.html
        assert all(str(picture["src"]).startswith("data:") for picture in page.all("img"))
    assert HOSTILE[:-1] in pages[0].text_by_tag["p"]
    assert pages[1].text_by_tag["bdi"].count(HOSTILE[:-1]) == 2


def test_the_examples_of_a_page_stay_below_four_megabytes_and_the_first_come_first(tmp_path: Path):
    draw = np.random.default_rng(0)
    long = [draw.uniform(-0.5, 0.5, 160_000).astype(np.float32) for _ in range(16)]
    files = {
        f"sounds/{number:02}.wav": encoded(samples, rate_hz=16_000) for number, samples in enumerate(long)
    }
    params = sound_params("sounds.rate_hz=16000", "sounds.seconds=10.0")

    page = Listed(report_on(tmp_path, params, files))

    assert MOST_BYTES == 4_000_000
    assert len(page.html) < MOST_BYTES + 400_000
    num = len(page.all("audio"))
    assert 5 < num < 16
    assert [IN_BRIEF in row for row in page.rows[1:]] == [False] * num + [True] * (16 - num)
    assert all("10.00 s" in row for row in page.rows[1:])


@pytest.mark.parametrize("length", [19_000, 60_000])
def test_long_texts_stay_within_the_page_as_well(tmp_path: Path, length: int):
    files = {f"texts/{number:03}.txt": f"{number} {'<' * length}".encode() for number in range(120)}

    page = Listed(report_on(tmp_path, text_params("texts.max_bytes=100000"), files))

    assert len(page.html) < MOST_BYTES + 400_000
    assert IN_BRIEF in page.rows[-1]
    assert page.text_by_tag["p"][-1].startswith("119 <<<")


def test_equal_inputs_give_equal_pages(tmp_path: Path):
    files = {"sounds/a.wav": encoded(tone(440)), "sounds/b.wav": encoded(tone(880, seconds=0.2))}

    first, second = (report_on(tmp_path / name, sound_params(), files).read_bytes() for name in "ab")

    assert first == second


@pytest.mark.parametrize(
    ("change", "words"),
    [(b"no sound", "It cannot be shown: cannot be read as sound"), (encoded(tone(300)), "It changed since the models"),
     (None, "It cannot be shown: ")],
)  # fmt: skip
def test_what_is_gone_or_changed_is_not_shown_and_says_so(tmp_path: Path, change: bytes | None, words: str):
    report_on(
        tmp_path, sound_params(), {"sounds/a.wav": encoded(tone(440)), "sounds/b.wav": encoded(tone(880))}
    )
    workspace = Workspace(tmp_path)
    path = workspace.data(PROVISIONAL.target) / "sounds" / "a.wav"
    path.unlink()
    if change is not None:
        path.write_bytes(change)

    page = Listed(page_of(workspace, sound_params()))

    assert words in page.rows[1]
    assert len(page.all("audio")) == 1


class Told(Vectors):
    """A kind that has a line and no page."""

    def excerpt(self, path: Path) -> str | None:
        return f"{len(self.load(path))} bytes <b>"


def test_a_kind_that_does_not_say_how_it_is_shown_is_told_by_its_line_or_by_its_file_alone(tmp_path: Path):
    (tmp_path / "a.npy").write_bytes(b"1234")
    one = Disagreement("a.npy", hashlib.sha256(b"1234").hexdigest())

    assert exhibits([one], Vectors(), tmp_path) == {}
    assert "4 bytes &lt;b&gt;" in exhibits([one], Told(), tmp_path)["a.npy"]
