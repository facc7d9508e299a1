"""The checks of a run before its first stage."""

import json
from pathlib import Path

import pytest
import yaml

from flows.runs.prepare import check_weights, note_input, read_params
from tasks.config.overrides import apply_overrides
from tasks.config.params import load_params
from tasks.errors import BadInput, ConfigError
from tasks.workspace import Workspace
from tests.support.hf import write_text_folder
from tests.support.tables import COLUMNS, table_params
from tests.support.tiny import CHECKOUT


def workspace_with(folder: Path, *overrides: str) -> Workspace:
    content = yaml.safe_load((CHECKOUT / "params.yaml").read_text())
    workspace = Workspace(folder)
    workspace.params.write_text(yaml.safe_dump(apply_overrides(content, overrides), sort_keys=False))
    return workspace


def test_a_preset_that_its_loss_refuses_is_told_with_the_file_before_any_stage(tmp_path: Path):
    workspace = workspace_with(
        tmp_path,
        "adapt.presets.mine=[{loss: mmd, weight: 1.0, num_kernels: 0}]",
        "adapt.candidates=[source_only, mine]",
    )

    with pytest.raises(ConfigError) as refused:
        read_params(workspace)

    assert str(workspace.params) in str(refused.value)
    assert "adapt.presets.mine.losses.0.num_kernels: input should be greater than or equal to 1" in str(
        refused.value
    )


def test_weights_that_do_not_fit_are_refused_before_any_stage_and_lie_beside_the_settings(tmp_path: Path):
    workspace = workspace_with(tmp_path, "model.backbone=timm/resnet10t", "model.weights=own.pth")
    (tmp_path / "own.pth").write_text("no weights")

    with pytest.raises(BadInput) as refused:
        check_weights(load_params(workspace.params), root=workspace.root)

    assert str(refused.value).startswith(
        f"params.yaml: model.weights '{tmp_path / 'own.pth'}' is no checkpoint"
    )


def test_weights_that_were_overwritten_are_noted_for_dvc(tmp_path: Path):
    workspace = workspace_with(tmp_path)
    note = tmp_path / "data" / "weights.json"
    noted = []
    for weights, content in (("default", b""), ("own.pth", b"one"), ("own.pth", b"two"), ("own.pth", b"two")):
        (tmp_path / "own.pth").write_bytes(content)
        params = load_params(workspace.params)
        note_input(
            workspace,
            params.model_copy(update={"model": params.model.model_copy(update={"weights": weights})}),
        )
        noted.append((note.read_text(), note.stat().st_mtime_ns))

    assert noted[0][0] == "null\n"
    assert len({text for text, _ in noted}) == 3
    assert noted[2] == noted[3]


def test_a_folder_of_hugging_face_lies_beside_the_settings_and_another_file_in_it_is_noted_for_dvc(
    tmp_path: Path,
):
    folder = write_text_folder(tmp_path / "own" / "model")
    workspace = workspace_with(tmp_path, "kind=text", "model.backbone=hf/own/model", "model.weights=default")
    params = load_params(workspace.params)
    note = tmp_path / "data" / "weights.json"
    noted = []
    for name in (None, None, "tokenizer.json", "model.safetensors", "README.md"):
        if name:
            (folder / name).write_bytes(name.encode())
        note_input(workspace, params)
        noted.append(note.read_text())

    assert params.model.folder == folder
    assert set(json.loads(noted[0])["folder"]) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert noted[0] == noted[1]
    assert len(set(noted)) == 3
    assert noted[3] == noted[4]
    with pytest.raises(BadInput, match=r"model.backbone hf/.*own/model: tokenizer.json is no vocabulary"):
        check_weights(params, root=workspace.root)


def test_turned_images_are_refused_before_any_stage_where_orientation_is_the_label(tmp_path: Path):
    workspace = workspace_with(tmp_path, "adapt.candidates=[source_only, mcc_rotation]")

    with pytest.raises(ConfigError, match=r"\['mcc_rotation'\] learn how far an image was turned"):
        read_params(workspace)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("kind=sonar", "kind 'sonar' is unknown to this version of acclimate, which knows: image"),
        (
            "finetune.augment=warp",
            "finetune.augment: 'warp' is no augmentation of kind image, which has none, flip_crop, affine",
        ),
        (
            "features.views=[edge, sepia]",
            r"features.views: \['sepia'\] are no views of kind image, which has edge, ",
        ),
    ],
)
def test_what_the_kind_cannot_do_is_refused_before_any_stage(tmp_path: Path, override: str, words: str):
    with pytest.raises(BadInput, match=words):
        read_params(workspace_with(tmp_path, override))


def test_the_demo_and_what_try_starts_from_ask_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("asking the losses imports torch")

    monkeypatch.setattr("tasks.losses.presets.check.check_presets", refuse)

    assert read_params(workspace_with(tmp_path)).adapt.unproven == ()
    template = Workspace(CHECKOUT / "tasks" / "config" / "templates")
    assert read_params(template).adapt.candidates == "auto"


def test_columns_of_a_table_that_change_places_are_seen_by_dvc_and_nothing_else_is(tmp_path: Path):
    workspace, note = Workspace(tmp_path), tmp_path / "data" / "weights.json"
    seen = []
    for columns in (COLUMNS, {**COLUMNS}, dict(reversed(COLUMNS.items()))):
        note_input(workspace, table_params(columns=columns))
        seen.append(json.loads(note.read_text())["order"])

    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("kind", "opened"),
    [("text", "texts.tokens=null"), ("sound", "sounds.seconds=null"), ("table", "tables.columns={}")],
)
def test_weights_are_not_asked_about_before_the_source_has_decided_what_the_backbone_reads(
    tmp_path: Path, kind: str, opened: str
):
    workspace = workspace_with(
        tmp_path, f"kind={kind}", opened, "model.backbone=minilm", "model.weights=own.pth"
    )

    assert check_weights(load_params(workspace.params), root=tmp_path) is False


def test_a_folder_that_is_none_is_refused_though_the_length_of_texts_is_open(tmp_path: Path):
    workspace = workspace_with(tmp_path, "kind=text", "texts.tokens=null", "model.backbone=hf/nothing")

    with pytest.raises(BadInput, match=r"nothing is not a folder; expected one with config\.json"):
        check_weights(load_params(workspace.params), root=tmp_path)
