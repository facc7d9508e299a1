"""The promise of every JSON record: it comes back as it was written, and nothing else is taken for it."""

from pathlib import Path
from typing import Literal

import pytest

from tasks.errors import BadInput
from tasks.files import read_json, write_json
from tasks.records.record import Record, read_record, write_record


class Weather(Record):
    schema_version: Literal[3] = 3
    town: str
    degrees: tuple[int | float, ...]


def test_a_record_comes_back_as_it_was_written_and_its_version_stands_first(tmp_path: Path):
    written = Weather(town="Örebro", degrees=(3, 2.5))

    write_record(tmp_path / "weather.json", written)

    assert read_record(Weather, tmp_path / "weather.json") == written
    assert list(read_json(tmp_path / "weather.json").items()) == [
        ("schema_version", 3), ("town", "Örebro"), ("degrees", [3, 2.5])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema_version": 2, "town": "Oslo", "degrees": []}, r"schema version 2, this version .* reads 3\. Run"),
        ({"town": "Oslo", "degrees": []}, r"schema version None"),
        (["Oslo"], r"schema version None"),
        ({"schema_version": 3, "town": "Oslo"}, r"(.|\n)*`acclimate run` again:\n  degrees: Field required"),
        ({"schema_version": 3, "town": "Oslo", "degrees": [], "wind": 4}, r"(.|\n)*wind: Extra inputs"),
    ],
)  # fmt: skip
def test_another_version_or_another_shape_is_refused_by_the_name_of_the_file(
    tmp_path: Path, content, message
):
    write_json(tmp_path / "weather.json", content)

    with pytest.raises(BadInput, match=r"weather\.json .*" + message):
        read_record(Weather, tmp_path / "weather.json")
