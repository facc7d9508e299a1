"""Wrong labels on the examples that a target adapts to and is chosen on change no byte of any model, whatever its kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.config.params import Params
from tasks.domains.table.learn import columns_of
from tasks.records.manifest import read_examples
from tasks.stages import adapt, features, finetune, manifest, views
from tasks.workspace import Workspace
from tests.support.sounds import noises, sound_params, write_sounds
from tests.support.tables import readings, table_params, write_rows
from tests.support.texts import reviews, text_params, write_csv

SETTINGS = (
    "domains=[source, site]", "targets=[site]", "model.bottleneck=8", "features.precision=float32", "finetune.steps=5",
    "adapt.steps=5", "adapt.seeds=[0]", "adapt.candidates=[source_only, propagation, mcc_centroid]",
    "adapt.deeper.candidates=[]",
)  # fmt: skip
NUM = 40

Wrong = Mapping[int, str]
"""Labels that take the place of the right ones, by the number of the example."""


@dataclass(frozen=True)
class World:
    """The examples of one kind."""

    write_source: Callable[[Workspace], object]
    write_target: Callable[[Workspace, Wrong], object]
    params: Callable[[Workspace], Params]
    labels: list[str]
    """The right ones of the target, in the order of the examples."""
    number_of: Callable[[str], int]
    """The number of an example, by its path in the manifest."""


def texts() -> World:
    rows = reviews("tools", NUM)
    return World(
        lambda workspace: write_csv(made(workspace.data("source")) / "a.csv", reviews("books", NUM)),
        lambda workspace, wrong: write_csv(
            made(workspace.data("site") / "texts") / "a.csv",
            [(text, wrong.get(number, label)) for number, (text, label) in enumerate(rows)],
        ),
        lambda workspace: text_params(*SETTINGS, "texts.tokens=16", "features.route=cached"),
        [label for _, label in rows],
        lambda path: int(path.rpartition("#")[2]) - 2,
    )


def tables() -> World:
    rows = readings(NUM, hotter=2.0)
    return World(
        lambda workspace: write_rows(workspace.data("source") / "a.csv", readings(NUM)),
        lambda workspace, wrong: write_rows(
            workspace.data("site") / "rows" / "a.csv",
            [row | {"label": wrong.get(number, row["label"])} for number, row in enumerate(rows)],
        ),
        lambda workspace: table_params(
            *SETTINGS, columns=columns_of(workspace.data("source"), label="label")
        ),
        [str(row["label"]) for row in rows],
        lambda path: int(path.rpartition("#")[2]) - 2,
    )


def sounds() -> World:
    made_sounds = noises(NUM, level=0.1)
    return World(
        lambda workspace: write_sounds(workspace.data("source"), noises(NUM), in_classes=True),
        lambda workspace, wrong: write_sounds(
            workspace.data("site") / "sounds",
            [(samples, wrong.get(number, label)) for number, (samples, label) in enumerate(made_sounds)],
            in_classes=True,
        ),
        lambda workspace: sound_params(*SETTINGS),
        [label for _, label in made_sounds],
        lambda path: int(Path(path).stem),
    )


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def adapted(root: Path, world: World, wrong: Wrong) -> Workspace:
    """A workspace after the stage adapt."""
    workspace = Workspace(root)
    world.write_source(workspace)
    world.write_target(workspace, wrong)
    params = world.params(workspace)
    for domain in params.domains:
        manifest.run(workspace, params, domain)
        features.run(workspace, params, domain)
    views.run(workspace, params, "site")
    finetune.run(workspace, params)
    adapt.run(workspace, params, "site")
    return workspace


@pytest.mark.parametrize("make", [texts, tables, sounds])
def test_wrong_labels_where_none_may_be_read_change_no_byte_of_any_model(
    tmp_path: Path, make: Callable[[], World]
):
    world = make()
    right = adapted(tmp_path / "right", world, {})
    others = dict(zip(sorted(set(world.labels)), sorted(set(world.labels), reverse=True), strict=True))
    unseen = [
        world.number_of(example.path)
        for example in read_examples(right.stage("manifest", "site"))
        if example.split in ("adapt", "select")
    ]
    planted = adapted(
        tmp_path / "planted", world, {number: others[world.labels[number]] for number in unseen}
    )

    files = sorted(
        path.relative_to(right.root) for path in right.stage("adapt", "site").rglob("*.safetensors")
    )
    assert len(unseen) > NUM / 2
    assert len(files) >= 8
    assert [
        file for file in files if (right.root / file).read_bytes() != (planted.root / file).read_bytes()
    ] == []
