"""Hostile and messy texts, recordings and rows: on disk each is told with a reason, over HTTP each is answered, and the good ones go through."""

import json
from pathlib import Path

import pytest

from benchmarks.hostile_kinds import BODIES, FILES, JSON, ROW
from tasks.config.params import load_params
from tasks.domains.rows import has_rows
from tasks.files import read_json
from tasks.records.manifest import read_examples
from tasks.stages import manifest
from tests.support.served import served
from tests.support.sounds import encoded, tone
from tests.support.tried import TARGETS, TriedOf, copy_of

GOOD = {
    "text": ("text/plain", b"A superb cable: great."),
    "sound": ("audio/wav", encoded(tone(1500, level=0.1))),
    "table": (JSON, json.dumps({"rows": [ROW]}).encode()),
}
SAID = {200, 400, 413, 415, 422, 429}
"""Statuses that tell a client what to do; 500 would be a trace."""


@pytest.fixture(scope="module", params=FILES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_hostile_file_is_told_with_a_reason_or_is_an_example_and_good_ones_beside_them_stay(
    kind: str, tried_of: TriedOf, tmp_path: Path
):
    target = TARGETS[kind]
    workspace = copy_of(tried_of(kind), tmp_path / "w")
    params = load_params(workspace.params)
    before = {row.path for row in read_examples(workspace.stage("manifest", target))}
    place = next(
        path for path in workspace.data(target).iterdir() if path.is_dir() and path.name != "holdout"
    )
    for name, make in FILES[kind].items():
        (place / name).write_bytes(make())

    manifest.run(workspace, params, target)

    summary = read_json(workspace.stage("manifest", target) / "manifest.json")
    examples = {row.path for row in read_examples(workspace.stage("manifest", target))}
    told = {entry["path"]: entry["reason"] for entry in summary["quarantined"]}
    assert before <= examples
    for name in FILES[kind]:
        path = f"{place.name}/{name}"
        mine = {one for one in (*told, *examples) if one == path or one.startswith(f"{path}#")}
        assert mine, name
        assert has_rows(name) or len(mine) == 1
    assert [path for path, reason in told.items() if not reason.strip() or "Traceback" in reason] == []


def test_every_hostile_body_is_answered_in_words_and_a_good_one_after_it(
    kind: str, tried_of: TriedOf, tmp_path: Path
):
    target = TARGETS[kind]
    workspace = copy_of(tried_of(kind), tmp_path / "w")
    said: dict[str, tuple[int, str]] = {}

    with served(workspace, target) as client:
        for name, (form, make) in BODIES[kind].items():
            answer = client.post(f"/predict/{target}", content=make(), headers={"content-type": form})
            said[name] = (answer.status_code, answer.text)
        form, content = GOOD[kind]
        after = client.post(f"/predict/{target}", content=content, headers={"content-type": form})

    assert {name: answer for name, answer in said.items() if answer[0] not in SAID} == {}
    for name, (status, text) in said.items():
        answer = json.loads(text)
        if status != 200:
            assert isinstance(answer["detail"], str), name
            assert len(answer["detail"]) > 10, name
        for one in answer.get("answers", ()):
            assert ("class" in one) != ("error" in one), name
    assert after.status_code == 200
