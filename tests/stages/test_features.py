"""The stage `features`, by the files it leaves: what training reads, whatever the route, and no label of a target."""

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from tasks.config.params import Params
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.domains.image.views import edge
from tasks.engine.frozen import BATCH, parameters_sha256
from tasks.engine.routes import resolve_precision, resolve_route
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.backbones.image_lenet import LeNet
from tasks.models.boundary import Front, cut
from tasks.records.manifest import read_examples, read_labels, read_summary
from tasks.stages import features, manifest
from tasks.workspace import Workspace
from tests.support.tiny import DEEPER_SETTINGS, photograph_params, write_pictures

TARGET = "new-camera"
LENET = (
    "domains=[source, new-camera]",
    "targets=[new-camera]",
    "images.size_px=16",
    "model.backbone=lenet",
    "model.weights=none",
    "features.trained_blocks=1",
    "features.precision=float32",
)


def lenet(*overrides: str) -> Params:
    return photograph_params(*LENET, *overrides)


@pytest.fixture(scope="module")
def manifested(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Pictures of both cameras and their manifests; not to be changed, copy it."""
    workspace = Workspace(tmp_path_factory.mktemp("features") / "w")
    write_pictures(workspace.data("source"), count=30, first_seed=0, shifted=False, labelled=True)
    write_pictures(workspace.data(TARGET) / "images", count=8, first_seed=1000, shifted=True, labelled=False)
    write_pictures(workspace.data(TARGET) / "holdout", count=4, first_seed=2000, shifted=True, labelled=True)
    for domain in ("source", TARGET):
        manifest.run(workspace, lenet(), domain)
    return workspace


@pytest.fixture
def workspace(manifested: Workspace, tmp_path: Path) -> Workspace:
    root = tmp_path / "w"
    shutil.copytree(manifested.root, root)
    return Workspace(root)


@pytest.fixture(scope="module")
def published() -> tuple[Backbone, Front]:
    params = photograph_params(*DEEPER_SETTINGS)
    backbone = build_backbone(params.model, image_spec(32)).eval()
    front, _ = cut(backbone, last_k=params.features.trained_blocks, name="a")
    return backbone, front


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {file.name: np.load(file, allow_pickle=False) for file in sorted(folder.glob("*.npy"))}


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def pixels_by_hash(workspace: Workspace, domain: str, size_px: int) -> dict[str, np.ndarray]:
    """Read here by content, so that the manifest's own order plays no part."""
    files = list(workspace.data(domain).rglob("*.png"))
    assert len(files) > 20
    return {
        hashlib.sha256(path.read_bytes()).hexdigest(): Images(image_spec(size_px), 10**6).read(path)
        for path in files
    }


def pixels_of(workspace: Workspace, domain: str, size_px: int) -> np.ndarray:
    """In the order of the index."""
    known = pixels_by_hash(workspace, domain, size_px)
    index = pd.read_parquet(workspace.stage("features", domain) / "index.parquet")
    return np.stack([known[sha256] for sha256 in index["sha256"]])


# --- routes and what they keep -----------------------------------------------------------------


def trained_rows(workspace: Workspace, domain: str) -> np.ndarray:
    """Which rows of the index training reads."""
    index = pd.read_parquet(workspace.stage("features", domain) / "index.parquet")
    trained = index["split"].isin(["train", "adapt"]).to_numpy(copy=True)
    assert 0 < trained.sum() < len(trained)
    return trained


def test_route_end_to_end_keeps_pixels_of_every_image_and_views_of_what_is_trained_of_the_source(
    workspace: Workspace,
):
    params = lenet("features.route=end_to_end")
    for domain in ("source", TARGET):
        features.run(workspace, params, domain)

    source = arrays(workspace.stage("features", "source"))
    # Mirroring pixels is for augmentation.
    assert source.keys() == {"inputs.npy", "inputs.edge.npy", "judged.inputs.npy"}
    assert {array.dtype for array in source.values()} == {np.dtype(np.uint8)}
    pixels, trained = pixels_of(workspace, "source", 16), trained_rows(workspace, "source")
    assert np.array_equal(source["inputs.npy"], pixels[trained])
    assert np.array_equal(source["judged.inputs.npy"], pixels[~trained])
    assert np.array_equal(source["inputs.edge.npy"], edge(source["inputs.npy"]))
    target = arrays(workspace.stage("features", TARGET))
    assert target.keys() == {"inputs.npy", "judged.inputs.npy"}
    pixels, trained = pixels_of(workspace, TARGET, 16), trained_rows(workspace, TARGET)
    assert np.array_equal(target["inputs.npy"], pixels[trained])
    assert np.array_equal(target["judged.inputs.npy"], pixels[~trained])


def test_route_cached_keeps_the_frozen_features_of_every_image_and_mirrored_of_what_is_trained(
    workspace: Workspace,
):
    params = lenet("features.route=cached")
    features.run(workspace, params, "source")

    kept = arrays(workspace.stage("features", "source"))
    assert kept.keys() == {"inputs.npy", "inputs.mirror.npy", "inputs.edge.npy", "judged.inputs.npy"}
    assert {array.dtype for array in kept.values()} == {np.dtype(np.float32)}
    torch.manual_seed(params.finetune.seed)
    backbone = build_backbone(params.model, image_spec(16)).eval()
    pixels, trained = pixels_of(workspace, "source", 16), trained_rows(workspace, "source")
    expected = {
        "inputs.npy": pixels[trained],
        "inputs.mirror.npy": pixels[trained][:, :, ::-1],
        "inputs.edge.npy": edge(pixels[trained]),
        "judged.inputs.npy": pixels[~trained],
    }
    with torch.inference_mode():
        for name, images in expected.items():
            seen = backbone(torch.from_numpy(images.copy())).numpy()
            assert kept[name] == pytest.approx(seen, abs=1e-5), name


@pytest.mark.parametrize("domain", ["source", TARGET])
def test_route_deeper_keeps_features_and_halves_for_training_and_floats_for_judging(
    deeper: Workspace, published: tuple[Backbone, Front], domain: str
):
    kept, trained = arrays(deeper.stage("features", domain)), trained_rows(deeper, domain)
    views = {"", ".mirror", ".edge"} if domain == "source" else {"", ".mirror"}

    halves = {f"activations{view}.npy" for view in views}
    floats = {f"inputs{view}.npy" for view in views} | {"judged.inputs.npy", "judged.activations.npy"}
    assert {name: array.dtype.name for name, array in kept.items()} == {
        **dict.fromkeys(halves, "float16"),
        **dict.fromkeys(floats, "float32"),
    }
    pixels = pixels_of(deeper, domain, 32)
    for view in views:
        drawn = {"": pixels, ".mirror": pixels[:, :, ::-1], ".edge": edge(pixels)}[view]
        activations, features_ND = (seen.numpy() for seen in published[1](torch.from_numpy(drawn.copy())))
        assert kept[f"inputs{view}.npy"] == pytest.approx(features_ND[trained], abs=1e-4)
        halves = kept[f"activations{view}.npy"].astype(np.float32)
        assert halves == pytest.approx(activations[trained], rel=2e-3, abs=1e-3)
        if not view:
            assert kept["judged.inputs.npy"] == pytest.approx(features_ND[~trained], abs=1e-4)
            assert kept["judged.activations.npy"] == pytest.approx(activations[~trained], abs=1e-4)


@pytest.mark.parametrize("route", ["cached", "deeper"])
def test_in_bfloat16_what_training_reads_is_close_and_what_judges_is_the_same(
    workspace: Workspace, route: str
):
    exact, kept = {}, {}
    for precision, found in (("float32", exact), ("bfloat16", kept)):
        params = lenet(f"features.route={route}", f"features.precision={precision}")
        for domain in ("source", TARGET):
            features.run(workspace, params, domain)
            folder = workspace.stage("features", domain)
            found |= {(domain, name): array for name, array in arrays(folder).items()}
            assert read_json(folder / "info.json")["precision"] == precision

    assert exact.keys() == kept.keys()
    for (domain, name), expected in exact.items():
        found, scale = kept[domain, name].astype(np.float64), np.abs(expected).mean()
        if name.startswith("judged."):
            assert np.array_equal(found, expected), (domain, name)
        else:
            assert 1e-5 < np.abs(found - expected).mean() / scale < 0.02, (domain, name)


def test_auto_is_bfloat16_where_the_machine_multiplies_in_it_and_pixels_are_kept_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("ACCLIMATE_DEVICE", "cpu")
    backbone = build_backbone(lenet().model, image_spec(16))

    def precision(route: str, asked: str) -> str:
        params = lenet(f"features.route={route}", f"features.precision={asked}")
        return resolve_precision(params, resolve_route(params, backbone))

    for has, expected in (
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({}, "float32"),
    ):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda has=has: {"avx2": True, "avx512_bf16": False} | has
        )
        assert precision("cached", "auto") == expected
        assert precision("deeper", "float32") == "float32"
        assert precision("deeper", "bfloat16") == "bfloat16"
        assert precision("end_to_end", "auto") == "float32"


def test_the_index_lists_every_usable_image_by_its_hash_and_labels_of_the_source_alone(deeper: Workspace):
    for domain, labels in (("source", {"bars", "dots", "plain"}), (TARGET, set())):
        index = pd.read_parquet(deeper.stage("features", domain) / "index.parquet")

        assert index["sha256"].tolist() == sorted(pixels_by_hash(deeper, domain, 32))
        assert set(index["label"].dropna()) == labels
        assert index["label"].isna().all() == (domain == TARGET)


def test_the_stage_says_what_it_did_and_with_what(deeper: Workspace, published: tuple[Backbone, Front]):
    info = read_json(deeper.stage("features", "source") / "info.json")

    assert (info["route"], info["route_reason"]) == ("deeper", "as params.yaml says")
    assert (info["views"], info["rows"], info["shape"]) == (["edge", "mirror"], 90, [32, 32, 3])
    assert info["data_digest"] == read_summary(deeper.stage("manifest", "source")).data_digest
    assert info["backbone_sha256"] == parameters_sha256(published[0])


def test_views_in_the_style_of_a_target_are_not_this_stages(workspace: Workspace):
    params = lenet(
        "features.route=end_to_end", "features.views=[grey, fourier]", "adapt.candidates=[source_only, mcc]"
    )
    features.run(workspace, params, "source")

    assert arrays(workspace.stage("features", "source")).keys() == {
        "inputs.npy", "inputs.grey.npy", "judged.inputs.npy",
    }  # fmt: skip


def test_labels_of_a_target_change_nothing(workspace: Workspace):
    params = lenet("features.route=cached")
    features.run(workspace, params, TARGET)
    before = digests(workspace.stage("features", TARGET))
    labels = read_labels(workspace.stage("manifest", TARGET), splits=["test"])
    holdout = workspace.data(TARGET) / "holdout"
    for old, new in (("bars", "aside"), ("dots", "bars"), ("aside", "dots")):
        (holdout / old).rename(holdout / new)
    manifest.run(workspace, params, TARGET)

    features.run(workspace, params, TARGET)

    assert read_labels(workspace.stage("manifest", TARGET), splits=["test"]) != labels
    assert digests(workspace.stage("features", TARGET)) == before


def test_other_names_and_another_order_of_files_give_the_same_bytes(workspace: Workspace):
    params = lenet("features.route=deeper")
    features.run(workspace, params, "source")
    before = digests(workspace.stage("features", "source"))
    for number, path in enumerate(sorted(workspace.data("source").rglob("*.png"))):
        path.rename(path.with_name(f"{997 * number % 1000:03}.png"))
    manifest.run(workspace, params, "source")

    features.run(workspace, params, "source")

    assert digests(workspace.stage("features", "source")) == before
    assert "judged.activations.npy" in before


# --- which route -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "route", "reason"),
    [
        (["model.backbone=lenet", "model.weights=none"], "end_to_end",
         "nothing is pretrained, so there is nothing to freeze"),
        (["images.size_px=64"], "deeper", "64 px on cpu, so the last blocks can be trained in minutes"),
        (["images.size_px=168"], "cached", "168 px is above 160 px, too much for blocks on a CPU"),
        (["features.trained_blocks=99"], "cached", "features.trained_blocks is 99, but efficientnet-lite0 has"),
    ],
)  # fmt: skip
def test_auto_comes_to_a_route_by_weights_size_and_backbone_and_says_why(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], route: str, reason: str
):
    monkeypatch.setenv("ACCLIMATE_DEVICE", "cpu")
    params = photograph_params("images.size_px=32", *overrides)
    assert params.features.route == "auto"

    found = resolve_route(params, build_backbone(params.model, image_spec(params.images.size_px)))

    assert found.name == route
    assert found.reason.startswith("auto: ")
    assert reason in found.reason
    assert (found.front is not None) == (route == "deeper")


def test_a_route_that_is_named_is_taken_or_refused_but_never_replaced():
    backbone = build_backbone(lenet().model, image_spec(16))

    for route in ("cached", "deeper", "end_to_end"):
        assert resolve_route(lenet(f"features.route={route}"), backbone).name == route
    with pytest.raises(BadInput, match=r"features.trained_blocks is 3, but lenet has 3 parts"):
        resolve_route(lenet("features.route=deeper", "features.trained_blocks=3"), backbone)


# --- what goes wrong ---------------------------------------------------------------------------


def test_activations_too_large_for_float16_are_told_with_their_size_and_nothing_is_left(
    workspace: Workspace, tmp_path: Path
):
    torch.manual_seed(0)
    loud = LeNet(16).state_dict()
    loud["blocks.1.1.weight"] *= 1e6
    save_file(loud, tmp_path / "loud.safetensors")
    params = lenet("features.route=deeper", f"model.weights={tmp_path / 'loud.safetensors'}")

    with pytest.raises(BadInput, match=r"enters the trained blocks, more than float16 holds") as raised:
        features.run(workspace, params, "source")

    (value,) = re.findall(r"params.yaml: (\S+) enters", str(raised.value))
    assert float(value) > 65504
    assert "set features.route to cached or end_to_end" in str(raised.value)
    assert not workspace.stage("features", "source").exists()


@pytest.mark.parametrize("route", ["cached", "deeper", "end_to_end"])
def test_a_stage_that_breaks_in_a_later_batch_leaves_the_files_of_before_and_nothing_half_written(
    workspace: Workspace, route: str
):
    params = lenet(f"features.route={route}")
    features.run(workspace, params, "source")
    folder = workspace.stage("features", "source")
    before = digests(folder)
    rows = read_examples(workspace.stage("manifest", "source"))
    assert len(rows) > BATCH
    (workspace.data("source") / rows[-1].path).write_bytes(b"no longer an image")

    with pytest.raises(BadInput, match=re.escape(Path(rows[-1].path).name)):
        features.run(workspace, params, "source")

    assert digests(folder) == before


def test_a_domain_of_which_nothing_is_trained_on_has_empty_activations(workspace: Workspace):
    params = lenet("features.route=deeper", "split.target_adapt=0.0", "split.target_select=0.9")
    manifest.run(workspace, params, TARGET)

    features.run(workspace, params, TARGET)

    kept = arrays(workspace.stage("features", TARGET))
    for kind in ("inputs", "activations"):
        assert kept[f"{kind}.npy"].shape == (0, *kept[f"judged.{kind}.npy"].shape[1:])
        assert len(kept[f"judged.{kind}.npy"]) == 36
