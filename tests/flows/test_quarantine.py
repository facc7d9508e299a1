"""Nothing that DVC would follow, wait for or break off at is left in a domain folder when DVC hashes it."""

import os
import socket
from pathlib import Path

import pytest
import yaml

from flows.runs.dvc_client import DvcClient
from flows.runs.prepare import track_data
from flows.workspaces.create import create_workspace
from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, load_params
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.stages import manifest
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, TINY_SETTINGS, draw, write_pictures

SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    content = yaml.safe_load((CHECKOUT / "tasks" / "config" / "templates" / "params.yaml").read_text())
    content = apply_overrides(content | {"domains": ["source", "cam"], "targets": ["cam"]}, TINY_SETTINGS)
    made = create_workspace(tmp_path_factory.mktemp("hostile") / "w", params=content)
    write_pictures(made.data("source"), count=3, first_seed=0, shifted=False, labelled=True)
    write_pictures(made.data("cam") / "images", count=3, first_seed=100, shifted=True, labelled=False)
    write_pictures(
        made.data("cam") / "arrived" / "0123", count=3, first_seed=200, shifted=True, labelled=False
    )
    return made


def track(workspace: Workspace) -> Params:
    params = load_params(workspace.params)
    with DvcClient(workspace) as dvc:
        for domain in params.domains:
            track_data(dvc, domain)
    return params


def cached(workspace: Workspace) -> list[bytes]:
    found = [path.read_bytes() for path in (workspace.root / ".dvc" / "cache").rglob("*") if path.is_file()]
    assert found
    return found


def test_no_byte_behind_a_link_enters_dvc_and_what_is_moved_aside_is_in_the_manifest_with_its_reason(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "id_rsa").write_bytes(SECRET)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside.png").write_bytes(SECRET)
    batch, bars = workspace.data("cam") / "arrived" / "0123", workspace.data("source") / "bars"
    (batch / "link.png").symlink_to(tmp_path / "id_rsa")
    (batch / "folder").symlink_to(tmp_path / "folder")
    (batch / ".hidden").mkdir()
    (batch / ".hidden" / "link.png").symlink_to(tmp_path / "id_rsa")
    (batch / "chain.png").symlink_to("link.png")
    (batch / "nothing.png").symlink_to("gone.png")
    (batch / "loop.png").symlink_to("loop.png")
    os.mkfifo(batch / "pipe.png")
    (batch / "b\udcff.png").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(batch)  # such a path must be short
        listening.bind("s.png")
    (bars / "link.png").symlink_to(tmp_path / "id_rsa")
    inside = bars / "twice.png"
    draw("bars", seed=77, shifted=False).save(bars / "once.png")
    inside.symlink_to("once.png")

    params = track(workspace)
    manifest.run(workspace, params, "cam")
    manifest.run(workspace, params, "source")

    assert not [content for content in cached(workspace) if SECRET in content]
    assert (tmp_path / "id_rsa").read_bytes() == SECRET
    written = read_json(workspace.stage("manifest", "cam") / "manifest.json")
    reasons = {row["path"]: row["reason"] for row in written["quarantined"]}
    expected = {
        "link.png": "leaves the domain folder", "folder": "leaves the domain folder", ".hidden/link.png": "leaves the domain",
        "chain.png": "symbolic link", "nothing.png": "link to nothing", "loop.png": "link to nothing",
        "pipe.png": "not a regular file", "s.png": "not a regular file", "b\\udcff.png": "not UTF-8",
    }  # fmt: skip
    for name, part in expected.items():
        reason = reasons[f"arrived/0123/{name}"]
        assert part in reason
        assert "(it is now in .acclimate/quarantine/cam/arrived/0123/" in reason
        assert os.path.lexists(
            workspace.private / "quarantine" / "cam" / "arrived" / "0123" / name.replace("\\udcff", "\udcff")
        )
    assert written["ok"] == 18
    assert os.path.lexists(workspace.private / "quarantine" / "source" / "bars" / "link.png")
    assert os.path.lexists(inside)


def test_a_folder_of_a_domain_that_is_a_link_is_moved_aside_too(workspace: Workspace, tmp_path: Path):
    write_pictures(tmp_path / "elsewhere", count=1, first_seed=900, shifted=True, labelled=False)
    (workspace.data("cam") / "holdout").symlink_to(tmp_path / "elsewhere")

    track(workspace)

    assert not (workspace.data("cam") / "holdout").exists()
    assert len(list((tmp_path / "elsewhere").iterdir())) == 3


def test_a_link_to_a_file_that_is_moved_aside_goes_with_it(workspace: Workspace):
    images = workspace.data("cam") / "images"
    named = images / os.fsdecode(b"caf\xe9.png")
    draw("dots", seed=4, shifted=True).save(images / "behind.png")
    (images / "behind.png").rename(named)
    (images / "in front.png").symlink_to(named)

    track(workspace)

    assert not os.path.lexists(named)
    assert not os.path.lexists(images / "in front.png")
    assert os.path.lexists(workspace.private / "quarantine" / "cam" / "images" / "in front.png")


def test_the_same_name_twice_is_kept_twice_and_listed_once(workspace: Workspace):
    link = workspace.data("cam") / "images" / "again.png"
    for target in ("/etc/hostname", "/etc/passwd"):
        link.symlink_to(target)
        track(workspace)

    kept = [
        path
        for path in (workspace.private / "quarantine" / "cam" / "images").iterdir()
        if "again" in path.name
    ]
    lines = (workspace.data("cam") / "refused.jsonl").read_text().splitlines()
    assert sorted(os.readlink(path) for path in kept) == ["/etc/hostname", "/etc/passwd"]
    assert sum("again.png" in line for line in lines) == 1


def test_a_domain_folder_that_is_a_link_is_refused_with_what_to_do(workspace: Workspace, tmp_path: Path):
    os.rename(workspace.data("cam"), tmp_path / "big disk")
    workspace.data("cam").symlink_to(tmp_path / "big disk")

    with pytest.raises(
        BadInput, match=r"data/cam is a symbolic link to .*Put the folder itself there, or mount it"
    ):
        track(workspace)

    workspace.data("cam").unlink()
    os.rename(tmp_path / "big disk", workspace.data("cam"))


def test_what_a_killed_intake_left_is_not_hashed(workspace: Workspace):
    (workspace.data("cam") / ".taking-0123").mkdir()
    (workspace.data("cam") / ".taking-0123" / "half.png").write_bytes(SECRET)

    track(workspace)

    assert not [content for content in cached(workspace) if SECRET in content]
