"""The stage `views`: the source in the style of a target's adapt split, paired by content, and free where not asked for."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tasks.config.params import Params
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.domains.image.views import TARGET_VIEWS
from tasks.engine.frozen import BATCH
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.models.backbones.build import build_backbone
from tasks.models.boundary import cut
from tasks.records.manifest import read_examples, read_manifest
from tasks.stages import features, manifest, views
from tasks.stages.views import draw_styles
from tasks.workspace import Workspace
from tests.support.manifests import write_rows
from tests.support.opened import opened_under
from tests.support.tiny import DEEPER_SETTINGS, photograph_params, write_pictures

TARGET = "new-camera"
PIXELS = (
    "domains=[source, new-camera]",
    "targets=[new-camera]",
    "images.size_px=16",
    "model.backbone=lenet",
    "model.weights=none",
    "features.route=end_to_end",
    "adapt.candidates=[source_only, mcc_histogram, mcc_fourier]",
    "adapt.deeper.candidates=[]",
)


def pixels(*overrides: str) -> Params:
    return photograph_params(*PIXELS, *(overrides or ("features.views=[histogram, fourier]",)))


def prepare(workspace: Workspace, params: Params) -> None:
    for domain in params.domains:
        manifest.run(workspace, params, domain)
        features.run(workspace, params, domain)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Both cameras up to stage features, with a labelled hold-out; not to be changed, copy it."""
    workspace = Workspace(tmp_path_factory.mktemp("views") / "w")
    write_pictures(workspace.data("source"), count=24, first_seed=0, shifted=False, labelled=True)
    images, holdout = workspace.data(TARGET) / "images", workspace.data(TARGET) / "holdout"
    write_pictures(images, count=10, first_seed=1000, shifted=True, labelled=False)
    write_pictures(holdout, count=5, first_seed=2000, shifted=True, labelled=True)
    prepare(workspace, pixels())
    return workspace


@pytest.fixture
def workspace(prepared: Workspace, tmp_path: Path) -> Workspace:
    root = tmp_path / "w"
    shutil.copytree(prepared.root, root)
    return Workspace(root)


def kept(workspace: Workspace, target: str = TARGET) -> dict[str, np.ndarray]:
    folder = workspace.stage("views", target)
    return {file.name: np.load(file, allow_pickle=False) for file in sorted(folder.glob("*.npy"))}


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def splits(workspace: Workspace, domain: str) -> dict[str, str]:
    """By path."""
    return {example.path: example.split for example in read_examples(workspace.stage("manifest", domain))}


def index(workspace: Workspace, domain: str) -> pd.DataFrame:
    return pd.read_parquet(workspace.stage("features", domain) / "index.parquet")


def trained(workspace: Workspace) -> pd.DataFrame:
    """The rows of the source that training reads."""
    rows = index(workspace, "source")
    return rows[rows["split"] == "train"]


def styles_of(workspace: Workspace, params: Params) -> np.ndarray:
    """Pixels of the target's adapt split, in the order of their hash."""
    pixels_by_hash = {
        hashlib.sha256(path.read_bytes()).hexdigest(): Images(image_spec(params.images.size_px), 10**6).read(
            path
        )
        for path in workspace.data(TARGET).rglob("*.png")
    }
    rows = index(workspace, TARGET)
    return np.stack([pixels_by_hash[sha256] for sha256 in rows.loc[rows["split"] == "adapt", "sha256"]])


def test_every_image_that_is_trained_is_kept_in_the_style_of_the_target_in_the_order_of_the_sources_rows(
    workspace: Workspace,
):
    params = pixels()
    views.run(workspace, params, TARGET)

    source = np.load(workspace.stage("features", "source") / "inputs.npy")
    styles = styles_of(workspace, params)
    drawn = styles[draw_styles(trained(workspace)["sha256"].tolist(), len(styles), seed=0)]
    redrawn = kept(workspace)
    assert redrawn.keys() == {"inputs.histogram.npy", "inputs.fourier.npy"}
    for name in ("histogram", "fourier"):
        assert np.array_equal(redrawn[f"inputs.{name}.npy"], TARGET_VIEWS[name](source, drawn))
    # Its purpose: the colours of the target. The two cameras differ by a third in brightness.
    means = [images.mean() for images in (source, styles, *redrawn.values())]
    assert means[0] > 1.3 * means[1]
    assert means[2:] == pytest.approx([means[1]] * 2, rel=0.1)


def test_on_route_deeper_frozen_features_and_activations_of_the_redrawn_source_are_kept(deeper: Workspace):
    params = photograph_params(*DEEPER_SETTINGS)
    source, styles = trained(deeper), styles_of(deeper, params)
    by_hash = {
        hashlib.sha256(path.read_bytes()).hexdigest(): Images(image_spec(32), 10**6).read(path)
        for path in deeper.data("source").rglob("*.png")
    }
    pixels_NSS3 = np.stack([by_hash[sha256] for sha256 in source["sha256"]])
    style_N = draw_styles(source["sha256"].tolist(), len(styles), seed=0)
    backbone = build_backbone(params.model, image_spec(32)).eval()
    front, _ = cut(backbone, last_k=params.features.trained_blocks, name="a")

    activations, features_ND = front(
        torch.from_numpy(TARGET_VIEWS["histogram"](pixels_NSS3, styles[style_N]))
    )

    redrawn = kept(deeper)
    assert redrawn.keys() == {"inputs.histogram.npy", "activations.histogram.npy"}
    assert redrawn["inputs.histogram.npy"] == pytest.approx(features_ND.numpy(), abs=1e-4)
    assert redrawn["activations.histogram.npy"].dtype == np.float16
    assert redrawn["activations.histogram.npy"].astype(np.float32) == pytest.approx(
        activations.numpy(), rel=2e-3, abs=1e-3
    )


def test_only_the_adapt_split_of_the_target_is_opened_and_what_is_trained_of_the_source(workspace: Workspace):
    with opened_under(workspace.root) as opened:
        views.run(workspace, pixels(), TARGET)

    pictures = {path for path in opened if path.endswith(".png")}
    split = splits(workspace, TARGET)
    styles = {path.removeprefix(f"data/{TARGET}/") for path in pictures if path.startswith(f"data/{TARGET}/")}
    assert len(styles) > 5
    assert {split[path] for path in styles} == {"adapt"}
    assert len(pictures) - len(styles) == len(trained(workspace)) < 72


def test_images_outside_the_adapt_split_and_labels_change_nothing(workspace: Workspace):
    views.run(workspace, pixels(), TARGET)
    before = digests(workspace.stage("views", TARGET))
    changed = 0
    for path, split in splits(workspace, TARGET).items():
        if split != "adapt":
            Image.new("RGB", (16, 16), (255, 0, 255)).save(workspace.data(TARGET) / str(path))
            changed += 1
    rows = read_manifest(workspace.stage("manifest", TARGET)).rows
    write_rows(workspace, TARGET, [replace(row, label="wrong") for row in rows])

    views.run(workspace, pixels(), TARGET)

    assert changed > 10
    assert digests(workspace.stage("views", TARGET)) == before


def test_names_of_files_change_nothing(workspace: Workspace):
    views.run(workspace, pixels(), TARGET)
    before = digests(workspace.stage("views", TARGET))
    for domain in ("source", TARGET):
        for number, path in enumerate(sorted(workspace.data(domain).rglob("*.png"))):
            path.rename(path.with_name(f"x{997 * number % 1000:03}.png"))
    prepare(workspace, pixels())

    views.run(workspace, pixels(), TARGET)

    assert digests(workspace.stage("views", TARGET)) == before


def test_a_style_is_drawn_by_an_images_own_hash_evenly_and_by_the_seed():
    hashes = [hashlib.sha256(bytes([a, b])).hexdigest() for a in range(20) for b in range(20)]

    drawn = draw_styles(hashes, 5, seed=0)

    assert draw_styles(hashes[::-1], 5, seed=0).tolist() == drawn[::-1].tolist()
    assert draw_styles(hashes[7:8], 5, seed=0).tolist() == drawn[7:8].tolist()
    assert draw_styles(hashes, 5, seed=1).tolist() != drawn.tolist()
    assert np.bincount(drawn, minlength=5).min() > 50  # of 80 expected
    assert len(np.bincount(drawn)) == 5


def test_without_such_views_nothing_is_read_and_the_answer_is_the_same_whatever_the_data(
    workspace: Workspace,
):
    plain = pixels("features.views=[edge]", "adapt.candidates=[source_only, mcc, mcc_edge]")
    for folder in (workspace.data("source"), workspace.stage("manifest"), workspace.stage("features")):
        shutil.rmtree(folder)

    with opened_under(workspace.root) as opened:
        views.run(workspace, plain, TARGET)

    assert {path for path in opened if not path.startswith(f"results/views/{TARGET}")} == set()
    assert [file.name for file in workspace.stage("views", TARGET).iterdir()] == ["info.json"]
    assert read_json(workspace.stage("views", TARGET) / "info.json") == {
        "schema_version": 1, "views": [], "data_digests": [],
    }  # fmt: skip


def test_no_preset_that_runs_by_default_asks_for_them():
    params = photograph_params("adapt.seeds=[0]")

    assert not set(params.features.views) & TARGET_VIEWS.keys()
    assert params.adapt.presets["mcc_histogram"].views == ("histogram",)
    assert params.adapt.presets["mcc_fourier"].views == ("fourier",)
    assert not {"mcc_histogram", "mcc_fourier"} & {*params.adapt.pool, *params.adapt.deeper.candidates}


def test_a_target_with_no_image_to_take_the_style_from_is_told_what_to_change(workspace: Workspace):
    params = pixels("features.views=[histogram, fourier]", "split.target_adapt=0.0")
    manifest.run(workspace, params, TARGET)

    with pytest.raises(
        BadInput, match=r"examples of new-camera to take their style from.* raise split.target_adapt"
    ):
        views.run(workspace, params, TARGET)


def test_a_stage_that_breaks_leaves_no_half_written_file(workspace: Workspace):
    views.run(workspace, pixels(), TARGET)
    before = digests(workspace.stage("views", TARGET))
    rows = [row for row in read_examples(workspace.stage("manifest", "source")) if row.split == "train"]
    assert len(rows) > BATCH // 2
    (workspace.data("source") / rows[-1].path).write_bytes(b"no longer an image")

    with pytest.raises(BadInput, match=Path(rows[-1].path).name):
        views.run(workspace, pixels(), TARGET)

    assert digests(workspace.stage("views", TARGET)) == before
