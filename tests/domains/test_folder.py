"""Domain folders as they are walked: one order, no link followed out of them, every omission reported."""

import json
import os
import socket
from pathlib import Path

import pytest

from tasks.domains.folder import FoundFile, list_files, list_folders, read_refusals
from tasks.errors import BadInput


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def test_files_come_in_one_order_whatever_the_file_system_says(tmp_path):
    names = ["b/2.png", "b/1.png", "a/z.png", "c.png", "a/deep/er/y.png", "ä/ß.png", "a b/'q\"\n.png"]
    for name in names:
        touch(tmp_path / name)

    assert list_files(tmp_path) == [FoundFile(name, None) for name in sorted(names)]


def test_what_is_not_followed_is_listed_with_its_reason(tmp_path):
    domain, outside = tmp_path / "domain", tmp_path / "outside"
    touch(outside / "secret.png")
    touch(domain / "a" / "1.png")
    touch(domain / "a" / ".DS_Store")
    touch(domain / ".git" / "x")
    touch(domain / ".git" / "y" / "z")
    (domain / "a" / "out.png").symlink_to(outside / "secret.png")
    (domain / "outfolder").symlink_to(outside)
    (domain / "a" / "in.png").symlink_to("1.png")
    (domain / "loop").symlink_to(".")
    (domain / "a" / "dangling.png").symlink_to("nothing")
    (domain / "a" / "circle.png").symlink_to("circle.png")
    os.mkfifo(domain / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(domain / "socket"))

    leaves = "symbolic link that leaves the domain folder; copy the file instead"
    assert {file.path: file.reason for file in list_files(domain)} == {
        ".git": "hidden folder; 2 files below it are not read",
        "a/.DS_Store": "hidden file",
        "a/1.png": None,
        "a/circle.png": "symbolic link to nothing",
        "a/dangling.png": "symbolic link to nothing",
        "a/in.png": None,
        "a/out.png": leaves,
        "loop": "symbolic link to a folder; its files are listed where they are",
        "outfolder": leaves,
        "pipe": "not a regular file",
        "socket": "not a regular file",
    }


SYSTEM = [
    "Thumbs.db",
    "THUMBS.DB",
    "desktop.ini",
    "Desktop.ini",
    "ehthumbs.db",
    "Icon\r",
    "picasa.ini",
    "ZbThumbnail.info",
]


@pytest.mark.parametrize("name", SYSTEM)
def test_files_that_systems_leave_are_set_aside_like_hidden_ones(tmp_path, name):
    touch(tmp_path / "a" / "1.png")
    touch(tmp_path / "a" / name)

    assert set(list_files(tmp_path)) == {FoundFile("a/1.png", None), FoundFile(f"a/{name}", "system file")}


@pytest.mark.parametrize(
    "name", ["__MACOSX", "$RECYCLE.BIN", "@eaDir", "System Volume Information", "lost+found"]
)
def test_folders_that_systems_leave_are_no_classes_and_are_set_aside_whole(tmp_path, name):
    touch(tmp_path / "a" / "1.png")
    touch(tmp_path / name / "a" / "1.png")
    touch(tmp_path / name / "2.png")

    assert list_folders(tmp_path) == ["a"]
    assert set(list_files(tmp_path)) == {
        FoundFile("a/1.png", None),
        FoundFile(name, "system folder; 2 files below it are not read"),
    }


def test_sidecars_are_named_once_per_folder_and_suffix(tmp_path):
    pictures = [
        f"{folder}/{number}.{suffix}"
        for folder, suffix in (("a", "png"), ("b", "JPG"))
        for number in range(3)
    ]
    sidecars = [
        "a/0.json",
        "a/1.json",
        "a/2.JSON",
        "a/0.xml",
        "b/0.JPG.json",
        "b/1.JPG.supplemental-metadata.json",
        "b/2.CR2",
    ]
    for name in (*pictures, *sidecars):
        touch(tmp_path / name)

    def of(num: int) -> str:
        return f"sidecar files, {num} of them, beside files of the same name; not read"

    assert {file.path: file.reason for file in list_files(tmp_path) if file.reason} == {
        "a/*.json": of(3), "a/*.xml": of(1), "b/*.json": of(2), "b/*.cr2": of(1),
    }  # fmt: skip
    assert [file.path for file in list_files(tmp_path) if file.reason is None] == pictures


def test_what_stands_beside_no_example_of_its_name_is_no_sidecar(tmp_path):
    names = [
        "a/1.png",
        "a/2.json",
        "a/1-b.json",
        "a/notes.txt",
        "b/1.json",
        "b/1.txt",
        "1.json",
        "a/10.json",
        "a/1.b.json",
    ]
    for name in names:
        touch(tmp_path / name)

    assert [file.path for file in list_files(tmp_path)] == sorted(names)
    assert all(file.reason is None for file in list_files(tmp_path))


def test_names_that_are_not_utf8_are_listed_in_writing_that_is(tmp_path):
    touch(tmp_path / os.fsdecode(b"caf\xe9.png"))
    touch(tmp_path / os.fsdecode(b"dir\xff") / "1.png")

    assert list_files(tmp_path) == [
        FoundFile("caf\\udce9.png", "name is not UTF-8, rename this file"),
        FoundFile("dir\\udcff", "name is not UTF-8, rename this folder; 1 files below it are not read"),
    ]
    json.dumps([file.path for file in list_files(tmp_path)], ensure_ascii=False).encode("utf-8")


def test_links_that_leave_are_followed_where_somebody_asks_for_it_and_no_circle_is(tmp_path):
    domain, outside = tmp_path / "domain", tmp_path / "outside"
    touch(domain / "a" / "1.png")
    touch(outside / "b" / "2.png")
    touch(outside / "alone.png")
    (domain / "b").symlink_to(outside / "b")
    (domain / "b again").symlink_to(outside / "b")
    (domain / "a" / "alone.png").symlink_to(outside / "alone.png")
    (domain / "a again").symlink_to("a")
    (domain / "up").symlink_to(tmp_path)
    (outside / "b" / "back").symlink_to(domain)
    (outside / "b" / "around").symlink_to(outside / "b")

    found = {file.path: file.reason for file in list_files(domain, follow_links=True)}

    inside = "symbolic link to a folder; its files are listed where they are"
    assert found == {
        "a/1.png": None,
        "a/alone.png": None,
        "a again": inside,
        "b/2.png": None,
        "b/around": "symbolic link to a folder in which it lies",
        "b/back": inside,
        "b again": "symbolic link to a folder that another one leads to",
        "up": "symbolic link to a folder in which it lies",
    }
    assert list_folders(domain, follow_links=True) == ["a", "b", "b again"]


def test_a_link_that_looks_alike_but_leaves_the_folder_is_not_followed(tmp_path):
    touch(tmp_path / "domain-two" / "1.png")
    (tmp_path / "domain").mkdir()
    (tmp_path / "domain" / "1.png").symlink_to(tmp_path / "domain-two" / "1.png")

    [found] = list_files(tmp_path / "domain")

    assert found.reason is not None
    assert found.reason.startswith("symbolic link that leaves")


def test_a_domain_folder_that_is_itself_a_link_is_read(tmp_path):
    touch(tmp_path / "elsewhere" / "a" / "1.png")
    (tmp_path / "elsewhere" / "a" / "2.png").symlink_to("1.png")
    (tmp_path / "domain").symlink_to("elsewhere")

    assert list_files(tmp_path / "domain") == [FoundFile("a/1.png", None), FoundFile("a/2.png", None)]


def test_class_folders_are_those_that_are_entered(tmp_path):
    for name in ("b", "a b", ".hidden", "ü"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("b")
    touch(tmp_path / "file")

    assert list_folders(tmp_path) == ["a b", "b", "ü"]


def test_refusals_of_the_importer_are_read_and_their_file_is_no_entry(tmp_path):
    touch(tmp_path / "a.png")
    touch(tmp_path / "sub" / "refused.jsonl")
    lines = [
        {"path": "x\u2028\n.png", "reason": "zip entry leaves the folder"},
        {"path": "\udcff", "reason": "r"},
    ]
    (tmp_path / "refused.jsonl").write_text(
        "\n".join([json.dumps(lines[0], ensure_ascii=False), json.dumps(lines[1]), ""]), encoding="utf-8"
    )

    assert [file.path for file in list_files(tmp_path)] == ["a.png", "sub/refused.jsonl"]
    assert read_refusals(tmp_path) == [
        FoundFile("x\u2028\n.png", "zip entry leaves the folder"),
        FoundFile("\\udcff", "r"),
    ]


def test_no_refusals_without_the_importers_file(tmp_path):
    assert read_refusals(tmp_path) == []


@pytest.mark.parametrize("line", ["not json", "[]", '{"path": "a"}', "3"])
def test_a_malformed_refusal_names_file_and_line(tmp_path, line):
    (tmp_path / "refused.jsonl").write_text('{"path": "a", "reason": "b"}\n' + line)

    with pytest.raises(BadInput, match=r"refused\.jsonl line 2 is not an object"):
        read_refusals(tmp_path)
