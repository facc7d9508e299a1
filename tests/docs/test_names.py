"""Every command and path that a page or a message quotes exists."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from flows.cli import app
from flows.commands.tables import result_rows, stage_rows
from flows.release import Standing
from flows.runs.child import StageRun
from flows.runs.process import STAGES
from tasks.records.candidates import Split
from tasks.records.result import read_result
from tasks.records.verdict import Verdict
from tests.support.documents import expression, file_patterns, name_of, pages, quoted
from tests.support.tiny import CHECKOUT, Finished

PACKAGES = ("flows", "tasks", "deploy", "benchmarks")
ROOTS = (*PACKAGES, "tests", "docs", "data", "results", "registry", "answers", "targets", "landing", "code")
PATH = re.compile(r"\.?[\w<>{}.@%-]+(?:/[\w<>{}.@%*-]+)*/?")
OWN_PATH = re.compile(r"(?<![\w/.-])(?:flows|tasks|deploy|tests|docs|benchmarks)/[\w/.-]*+(?![<{*$])")
OF_TRITON = "docs/user_guide/model_configuration.md"
SUFFIXES = {".py", ".md", ".yaml", ".json", ".jsonl", ".lock", ".csv", ".toml", ".parquet", ".onnx", ".html"}


def commands() -> dict[str, set[str]]:
    """The options of every command."""
    from typer.main import get_command

    found = get_command(app).commands  # type: ignore[attr-defined]
    return {name: {opt for p in command.params for opt in p.opts} for name, command in found.items()}


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


@cache
def words_of_the_product() -> dict[str, set[str]]:
    return commands()


def command_faults(quotation: str) -> list[str]:
    """Faults of the commands in a quotation: an unknown name or an unknown option."""
    faults = []
    for command in re.split(r"&&|\||#", quotation):
        program, name, *arguments = [*command.split(), "", ""][: len(command.split()) + 2]
        if program == "acclimate" and re.fullmatch(r"[a-z][a-z-]*", name):
            options = words_of_the_product().get(name)
            if options is None:
                faults.append(f"no command: acclimate {name}")
            else:
                unknown = [one for one in arguments if one.startswith("--") and one not in options]
                faults += [f"acclimate {name} has no option {one}" for one in unknown]
        if program == "make" and re.fullmatch(r"[a-z-]+", name) and name not in make_targets():
            faults.append(f"no target of make: {name}")
    return faults


def is_path(quotation: str) -> bool:
    """Whether a quotation is meant as a path of the checkout or of a workspace."""
    if not PATH.fullmatch(quotation) or "/" not in quotation:
        return False
    return quotation.split("/")[0] in ROOTS or Path(quotation).suffix in SUFFIXES


def exists(path: str) -> bool:
    """Whether the checkout has it, or docs/files.md a row for it or for something below it; or docs/new-kind.md makes it."""
    path = path.rstrip("/")
    if "series" in Path(path).parts or Path(path).stem == "series":
        return True
    if (CHECKOUT / path).exists() or any(CHECKOUT.glob(re.sub(r"<\w+>|\{\w+\}", "*", path))):
        return True
    example = re.sub(r"<\w+>|\{[\w.]+\}|%s|\bTARGET\b|\*", "x", path)
    parts = len(Path(path).parts)
    shortened = {"/".join(pattern.split("/")[:parts]) for pattern in file_patterns()}
    return any(expression(pattern).fullmatch(example) for pattern in {*file_patterns(), *shortened})


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_and_paths_of_a_page_exist(page: Path):
    quotations = quoted(page.read_text(encoding="utf-8"))

    assert [fault for one in quotations for fault in command_faults(one)] == []
    assert [one for one in quotations if is_path(one) and not exists(one)] == []


def sources() -> list[Path]:
    found = [path for package in PACKAGES for path in (CHECKOUT / package).rglob("*.py")]
    assert len(found) > 90
    return sorted(found)


def texts(path: Path) -> Iterator[str]:
    """The texts of a module, docstrings and messages; values that are filled in stand as `{}`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "{x}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def test_commands_and_paths_of_messages_exist():
    faults = set()
    for path in sources():
        for one in (quotation for text in texts(path) for quotation in quoted(text)):
            wrong = command_faults(one) + ([f"no path: {one}"] if is_path(one) and not exists(one) else [])
            faults |= {(path.relative_to(CHECKOUT).as_posix(), fault) for fault in wrong}

    assert sorted(faults) == []


def test_a_command_or_a_path_that_does_not_exist_is_found():
    assert command_faults("acclimate gate-audti WORKSPACE") == ["no command: acclimate gate-audti"]
    assert command_faults("acclimate run && acclimate promote TARGET --now") == [
        "acclimate promote has no option --now"
    ]
    assert command_faults("make benchmarks") == ["no target of make: benchmarks"]
    assert is_path("results/gate/<target>/scores.json")
    assert not exists("results/gate/<target>/scores.json")
    assert not exists("tasks/gate.py")
    assert exists("results/gate/TARGET/to_label.csv")
    assert exists("results/adapt")


WORDS = (CHECKOUT / "docs" / "words.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [*STAGES, *get_args(get_type_hints(StageRun)["status"])])
def test_stages_and_their_statuses_are_explained(word: str):
    assert re.search(rf"^\| `?{word}`? \| ", WORDS, re.MULTILINE)


def words_of_the_tables(finished: Finished) -> set[str]:
    """Headings and fixed cells of the tables that a run and `acclimate status` print."""
    result = read_result(finished.workspace.root)
    tables = (*result_rows(result), *stage_rows(result))
    return {
        *(heading for row in tables for heading in row),
        *(field.name for field in fields(Standing)),
        *get_args(Verdict),
        *get_args(Split),
        "no labels",
        "not measured",
        "no target got through",
    }


def test_every_word_of_the_tables_is_explained(finished: Finished):
    explained = {
        word
        for row in re.findall(r"^\| ([^|]+) \| ", WORDS, re.MULTILINE)
        for word in row.replace("`", "").split(", ")
    }

    assert words_of_the_tables(finished) - explained == set()


def test_every_command_is_explained():
    assert [name for name in commands() if f"| `acclimate {name}` | " not in WORDS] == []


def test_a_name_that_contributing_finds_in_a_file_is_there():
    text = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    claims = re.findall(r"`(\w+)`(?: and `\w+`)? of (?:the module )?`([\w/.]+\.py)`", text)

    assert len(claims) >= 4
    assert [
        claim for claim in claims if not re.search(rf"\b{claim[0]}\b", (CHECKOUT / claim[1]).read_text())
    ] == []


def test_paths_of_the_project_exist_wherever_they_are_named():
    files = [CHECKOUT / name for name in ("Makefile", ".ci/run", "params.yaml", "dvc.yaml")]
    files += [
        *pages(),
        *sources(),
        *(path for room in PACKAGES for path in (CHECKOUT / room).rglob("*.yaml")),
    ]
    named = [
        (path.relative_to(CHECKOUT).as_posix(), name.rstrip("."))
        for path in files
        for name in OWN_PATH.findall(path.read_text(encoding="utf-8"))
    ]

    assert len(named) > 100
    assert [(file, name) for file, name in named if not exists(name) and name != OF_TRITON] == []
