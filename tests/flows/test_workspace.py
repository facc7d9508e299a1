"""Making a workspace and taking images in: hostile files are listed, good ones go through, nothing is lost."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
import yaml
from PIL import Image

from flows.runs.dvc_client import DvcClient
from flows.runs.prepare import track_data
from flows.workspaces.copy import import_examples, note_refused
from flows.workspaces.create import PARAMS_TEMPLATE, create_workspace, domain_name
from tasks.config.overrides import apply_overrides
from tasks.config.params import load_params
from tasks.config.yaml_file import parse_yaml
from tasks.errors import BadInput, ConfigError
from tasks.files import read_json
from tasks.stages import features, manifest
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, TINY_SETTINGS, draw, write_pictures


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that claim to be a picture of any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    content = yaml.safe_load((CHECKOUT / "tasks" / "config" / "templates" / "params.yaml").read_text())
    content = apply_overrides(content | {"domains": ["source", "cam"], "targets": ["cam"]}, TINY_SETTINGS)
    return create_workspace(tmp_path / "work space", params=content)


GOOD = (
    "with space.png",
    "quo\"te's.png",
    "new\nline.png",
    "ünïcode 図.png",
    "palette.png",
    "alpha.png",
    "deep.png",
    "cmyk.jpg",
)
BAD = {
    "cut.jpg": "truncated",
    "bomb.png": "100000 x 100000",
    "text.jpg": "not an image",
    "empty.png": "empty",
    "moving.gif": "animated",
    "link.png": "link",
}


def write_hostile(folder: Path, outside: Path) -> None:
    folder.mkdir(parents=True)
    pictures = [draw("bars", seed=seed, shifted=True) for seed in range(20)]
    for name, picture in zip(GOOD[:4], pictures, strict=False):
        picture.save(folder / name)
    pictures[4].convert("P").save(folder / "palette.png")
    pictures[5].convert("RGBA").save(folder / "alpha.png")
    Image.new("I;16", (16, 16), 40_000).save(folder / "deep.png")
    pictures[7].convert("CMYK").save(folder / "cmyk.jpg")
    pictures[8].save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-200])
    (folder / "bomb.png").write_bytes(png_claiming(100_000, 100_000))
    (folder / "text.jpg").write_text("I am not an image")
    (folder / "empty.png").touch()
    pictures[9].save(folder / "moving.gif", save_all=True, append_images=pictures[10:13])
    pictures[13].save(outside)
    (folder / "link.png").symlink_to(outside)


def test_good_files_go_through_and_bad_ones_are_listed_from_the_users_folder_to_the_features(
    workspace: Workspace, tmp_path: Path
):
    write_pictures(tmp_path / "old", count=3, first_seed=0, shifted=False, labelled=True)
    write_hostile(tmp_path / "new", tmp_path / "outside.png")
    params = load_params(workspace.params)

    note_refused(workspace.data("source"), import_examples(tmp_path / "old", workspace.data("source")))
    note_refused(
        workspace.data("cam"),
        import_examples(tmp_path / "new", workspace.data("cam") / "images"),
        inside="images",
    )
    with DvcClient(workspace) as dvc:
        for domain in params.domains:
            track_data(dvc, domain)
    manifest.run(workspace, params, "cam")
    features.run(workspace, params, "cam")

    written = read_json(workspace.stage("manifest", "cam") / "manifest.json")
    reasons = {Path(row["path"]).name: row["reason"] for row in written["quarantined"]}
    assert reasons.keys() == BAD.keys()
    for name, part in BAD.items():
        assert part in reasons[name].lower(), (name, reasons[name])
    assert read_json(workspace.stage("features", "cam") / "info.json")["rows"] == len(GOOD) == written["ok"]
    assert sum(written["notes"].values()) >= 3
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*GOOD, *BAD}


def test_the_workspace_has_its_own_git_and_dvc_state_with_telemetry_off(workspace: Workspace):
    config = (workspace.root / ".dvc" / "config").read_text()

    assert (workspace.root / ".git").is_dir()
    assert "analytics = false" in config
    assert "[core]" in config


def test_a_folder_with_something_else_in_it_is_not_taken_over(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(BadInput, match="is not empty and not a workspace"):
        create_workspace(tmp_path, params={})

    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_workspace_inside_the_folder_it_copies_is_refused(tmp_path: Path):
    write_pictures(tmp_path, count=1, first_seed=0, shifted=False, labelled=True)

    with pytest.raises(BadInput, match="would be copied into itself"):
        import_examples(tmp_path, tmp_path / "w" / "data" / "source")


def test_an_interrupted_import_leaves_no_half_a_domain_and_the_next_one_finishes(tmp_path: Path):
    write_pictures(tmp_path / "old", count=2, first_seed=0, shifted=False, labelled=True)
    leftover = tmp_path / "data" / ".importing-source"
    shutil.copytree(tmp_path / "old" / "dots", leftover / "dots")

    import_examples(tmp_path / "old", tmp_path / "data" / "source")

    assert len(list((tmp_path / "data" / "source").rglob("*.png"))) == 6
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("webcam", "webcam"),
        ("My Photos (2)", "my-photos-2"),
        ("source", "target"),
        ("Überwachung", "berwachung"),
        ("photos", "photos"),
        ("north/images", "north"),
        ("south/images", "south"),
        ("south/2024-05/raw_images", "2024-05"),
        ("data/test", "test"),
        ("here/images", "images"),
        ("no", "no"),
    ],
)
def test_a_target_is_called_after_what_distinguishes_its_folder(tmp_path: Path, folder: str, name: str):
    assert domain_name(tmp_path / folder, source=tmp_path / "here" / "source") == name


@pytest.mark.parametrize("name", ["no", "on", "yes", "off", "null", "010", "1e5", "1-2", "2024-05-01", "12"])
def test_a_name_is_a_name_in_every_dialect_of_yaml(tmp_path: Path, name: str):
    content = parse_yaml(PARAMS_TEMPLATE.read_bytes())
    content |= {"domains": ["source", name], "targets": [name]}
    workspace = create_workspace(tmp_path / "w", params=content)

    for read in (yaml.safe_load, parse_yaml):
        assert read(workspace.params.read_text())["targets"] == [name]
    assert load_params(workspace.params).targets == (name,)


def test_a_folder_whose_name_leaves_nothing_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match=r"cannot make a target name .* --name"):
        domain_name(tmp_path / "図図", source=tmp_path / "source")


def test_a_domain_without_a_folder_is_named(workspace: Workspace):
    for domain in ("source", "cam"):
        with DvcClient(workspace) as dvc, pytest.raises(BadInput, match=f"has no data/{domain}"):
            track_data(dvc, domain)


def test_running_where_there_is_no_workspace_says_so(tmp_path: Path):
    with pytest.raises(ConfigError, match="make one with `acclimate try`"):
        load_params(tmp_path / "params.yaml")
