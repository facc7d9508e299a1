"""Accuracy of the models that acclimate selects without labels, on public pairs; writes docs/accuracy.md.

    make bench-accuracy DATA=folder

``DATA`` holds what is there of

    pacs/{photo,cartoon}/<class>/*            two PACS domains (Li et al., ICCV 2017)
    office_caltech10/{amazon,caltech10,dslr,webcam}/<class>/*      (Gong et al., CVPR 2012)
    digits/mnist_train10k.npz, usps_train.npz        arrays ``images`` and ``labels``
    text/{books,electronics}.csv              columns ``text`` and ``label`` (Blitzer et al., ACL 2007)
    languages/{english,french,german,japanese}.csv   names of emoji, made by benchmarks/languages.py
    sound/fsdd/{george,jackson,theo}/<class>/*  spoken digits, one speaker each (Free Spoken Digit Dataset)
    sound/cwru/{hp0,hp1}/<class>/*            vibrations of bearings at two loads (Case Western Reserve University)
    table/{cool,hot}.csv                      machine failures by the air's temperature (AI4I 2020)

the same with targets of skewed shares, few images or a worse camera (benchmarks/harder.py),
and any other folder of class folders, or file of rows, by ``--pair SOURCE TARGET``. The demo's digits come from installed
packages. Labels of a target decide nothing: they are counted after everything is chosen. One workspace per
source, with every target of that source, is kept under ``--workspaces``; what is finished is not computed
again.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harder import harder
from benchmarks.languages import LANGUAGES
from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from flows.runs.prepare import prepare, prepare_target
from flows.workspaces.copy import import_examples
from flows.workspaces.create import create_workspace, domain_name
from tasks.config.overrides import apply_overrides
from tasks.config.params import check_params, load_params
from tasks.config.starting import starting_params
from tasks.config.yaml_file import read_yaml_file
from tasks.domains.folder import list_files
from tasks.domains.image.digits import prepare_demo
from tasks.domains.kinds import kind_in, kind_of, reader_of
from tasks.domains.places import place_in_target
from tasks.environment import child_environment
from tasks.files import read_json, write_json, write_text
from tasks.records.candidates import Candidates, has_candidates, read_candidates, read_split
from tasks.records.manifest import read_examples
from tasks.records.selection import read_selected
from tasks.records.verdict import read_judged
from tasks.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "params.yaml"
SEEDS = "[0, 1, 2]"

OFFICE = ("amazon", "caltech10", "dslr", "webcam")
SPEAKERS = ("george", "jackson", "theo")
HARDER = {
    "pacs/photo": (("pacs/cartoon", "skew20"), ("pacs/cartoon", "dark"), ("pacs/cartoon", "few")),
    "pacs/cartoon": (("pacs/photo", "skew20"), ("pacs/photo", "noise"), ("pacs/photo", "few")),
    "office_caltech10/amazon": (("office_caltech10/webcam", "blur"), ("office_caltech10/caltech10", "skew5")),
    "office_caltech10/caltech10": (
        ("office_caltech10/amazon", "skew20"),
        ("office_caltech10/webcam", "noise"),
    ),
    "office_caltech10/dslr": (("office_caltech10/caltech10", "skew5"), ("office_caltech10/amazon", "few")),
    "office_caltech10/webcam": (
        ("office_caltech10/caltech10", "skew20"),
        ("office_caltech10/amazon", "jpeg"),
    ),
}
"""By source: targets, and what makes them harder."""

HARDER_NAME = "-harder"
"""The names of their tasks end with it."""

ARRAYS = {"mnist": "mnist_train10k.npz", "usps": "usps_train.npz"}
DIGIT_SETTINGS = (f"adapt.seeds={SEEDS}", "adapt.candidates=auto")


@dataclass(frozen=True)
class Task:
    """One source, its targets, and how they are run."""

    name: str
    source: Path | None
    """``None`` for the demo, which makes its own data."""
    targets: tuple[Path, ...]
    kind: str = "image"
    backbone: str | None = None
    """``None`` for that of the kind."""
    template: Path | None = None
    """Settings; ``None`` for those that a new workspace of the kind starts from."""
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The outcome of one pair."""

    pair: str
    source_only: tuple[float, ...]
    """Accuracy on the hold-out by seed, on the route of the frozen or untrained backbone; trained on the source alone."""
    target_statistics: float
    """Accuracy of the simplest adaptation, as the gate compared it."""
    chosen: str
    method: tuple[float, ...]
    """Accuracy of every seed of the method that was chosen."""
    selected: float
    oracle: float
    num_holdout: int
    selected_judged: float
    """On select and hold-out split together: twice the images, the first half of them seen by the scores."""
    source_only_judged: float
    num_judged: int
    preparing_s: int | None
    """From images to features; those of the source are there where another target came first."""
    pool_s: int | None
    """From features to every candidate of every seed."""


def main() -> None:
    """Run every task that ``DATA`` has and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--workspaces", type=Path, default=Path("bench-workspaces"))
    parser.add_argument(
        "--pair", nargs=2, type=Path, action="append", default=[], metavar=("SOURCE", "TARGET")
    )
    parser.add_argument(
        "--only", action="append", help="Names of tasks, as they are printed; may be repeated."
    )
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", help="key=value of params.yaml."
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    arguments = parser.parse_args()
    arguments.workspaces.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for task in tasks_of(arguments.data, arguments.workspaces, arguments.pair, only=arguments.only or ()):
        print(f"{task.name}: {', '.join(path.name for path in task.targets)}", flush=True)
        workspace = run(task, arguments.workspaces / task.name, arguments.overrides)
        for target in load_params(workspace.params).targets:
            outcomes.append(outcome(workspace, target, f"{task.name} → {target}"))
            print(describe(outcomes[-1]), flush=True)
        write_text(arguments.out, document(outcomes))


def tasks_of(
    data: Path, scratch: Path, pairs: Sequence[tuple[Path, Path]], *, only: Collection[str] = ()
) -> Iterator[Task]:
    """The tasks that ``data`` has files for, the demo, and the pairs asked for.

    Args:
        data: Where the public pairs lie.
        scratch: Where images that have to be made first are kept.
        pairs: Further sources and targets.
        only: Names of the tasks that are wanted; empty for all. Nothing is made for the others.
    """
    for name, make in _makers(data, scratch, pairs):
        if not only or name in only:
            yield make()


def _makers(
    data: Path, scratch: Path, pairs: Sequence[tuple[Path, Path]]
) -> Iterator[tuple[str, Callable[[], Task]]]:
    """Every task by its name, made when it is called."""
    pacs, office, digits, texts = (data / name for name in ("pacs", "office_caltech10", "digits", "text"))
    if pacs.is_dir():
        for source, target in (("photo", "cartoon"), ("cartoon", "photo")):
            yield source, partial(Task, source, pacs / source, (pacs / target,))
    if digits.is_dir():
        for source, target in (("mnist", "usps"), ("usps", "mnist")):
            yield source, partial(_digits_task, digits, scratch / "images", source, target)
    if texts.is_dir():
        for source, target in (("books", "electronics"), ("electronics", "books")):
            yield source, partial(Task, source, texts / f"{source}.csv", (texts / f"{target}.csv",), "text")
    if (data / "languages").is_dir():
        source, *others = (data / "languages" / f"{name}.csv" for name in LANGUAGES)
        yield source.stem, partial(Task, source.stem, source, tuple(others), "text")
    yield from _sound_makers(data / "sound", scratch / "sounds")
    if (data / "table").is_dir():
        for source, target in (("cool", "hot"), ("hot", "cool")):
            files = (data / "table" / f"{name}.csv" for name in (source, target))
            yield source, partial(_table_task, source, *files)
    yield "demo", partial(Task, "demo", None, (), template=DIGITS, overrides=DIGIT_SETTINGS)
    if office.is_dir():
        for source in OFFICE:
            others = tuple(office / target for target in OFFICE if target != source)
            yield source, partial(Task, source, office / source, others)
    for source in HARDER:
        if (data / source).is_dir():
            yield f"{Path(source).name}{HARDER_NAME}", partial(_harder_task, data, scratch / "images", source)
    for source, target in pairs:
        name = domain_name(source, source=target)
        yield name, partial(Task, name, source, (target,), _kind_of(target))


def _sound_makers(sounds: Path, scratch: Path) -> Iterator[tuple[str, Callable[[], Task]]]:
    if (sounds / "fsdd").is_dir():
        for source in SPEAKERS:
            others = tuple(sounds / "fsdd" / target for target in SPEAKERS if target != source)
            yield source, partial(Task, source, sounds / "fsdd" / source, others, "sound")
        yield "telephone", partial(_telephone_task, sounds / "fsdd", scratch)
    if (sounds / "cwru").is_dir():
        for source, target in (("hp0", "hp1"), ("hp1", "hp0")):
            places = (sounds / "cwru" / source, (sounds / "cwru" / target,))
            yield source, partial(Task, source, *places, "sound", backbone="logmel-cnn")


def _telephone_task(speakers: Path, scratch: Path) -> Task:
    """Half of a speaker's recordings, and the other half by telephone."""
    from benchmarks.telephone import split_by_telephone

    source, target = split_by_telephone(speakers / SPEAKERS[0], scratch)
    return Task("telephone", source, (target,), "sound")


def _table_task(name: str, source: Path, target: Path) -> Task:
    return Task(name, source, (target,), "table")


def _kind_of(path: Path) -> str:
    """The kind of the examples in a folder, or in a file of rows."""
    if path.is_file():
        return kind_in(path.parent, [path.name])
    return kind_in(path, [file.path for file in list_files(path)])


def _digits_task(digits: Path, images: Path, source: str, target: str) -> Task:
    """Digits from arrays, in both directions."""
    made = {name: unpack(digits / ARRAYS[name], images / name) for name in (source, target)}
    return Task(source, made[source], (made[target],), template=DIGITS, overrides=DIGIT_SETTINGS)


def _harder_task(data: Path, images: Path, source: str) -> Task:
    """Targets with skewed shares, few images or a worse camera."""
    targets = tuple(
        harder(data / target, images / f"{Path(target).name}-{how}", how=how)
        for target, how in HARDER[source]
    )
    return Task(f"{Path(source).name}{HARDER_NAME}", data / source, targets)


def unpack(arrays: Path, folder: Path) -> Path:
    """The digits of an .npz file as PNG files in class folders."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}")
        with np.load(arrays, allow_pickle=False) as content:
            for row, (pixels, label) in enumerate(zip(content["images"], content["labels"], strict=True)):
                place = partial / str(label) / f"{row}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place)
        partial.rename(folder)
    return folder


def settings_of(content: dict[str, Any]) -> dict[str, Any]:
    """The settings of a benchmark: its labels are spent at once, so that every accuracy is shown."""
    return {**content, "gate": {**content["gate"], "labels": "open"}}


def run(task: Task, root: Path, overrides: Sequence[str]) -> Workspace:
    """A workspace in which every stage up to the gate has run for every target of ``task``."""
    content = (
        starting_params(task.kind, backbone=task.backbone)
        if task.template is None
        else read_yaml_file(task.template)
    )
    if task.source is not None:
        names = [domain_name(target, source=task.source) for target in task.targets]
        content |= {"domains": ["source", *names], "targets": names}
    content = apply_overrides(settings_of(content), [*task.overrides, *overrides])
    params = check_params(content, origin="the settings")
    workspace = create_workspace(root, params=content)
    if task.source is None:
        prepare_demo(workspace.root)
    else:
        for place, origin in (
            (workspace.data("source"), task.source),
            *(
                (workspace.data(name) / kind_of(params).plural, path)
                for name, path in zip(params.targets, task.targets, strict=True)
            ),
        ):
            if not place.exists():
                import_examples(origin, place)
    with lock_workspace(workspace, purpose="benchmark"), DvcClient(workspace) as dvc:
        prepare(dvc)
        for target in params.targets:
            prepare_target(dvc, target)
            before = candidates_of(workspace, target)
            preparing_s = reproduce(workspace, f"validate@{target}", f"views@{target}", "finetune")
            pool_s = reproduce(workspace, f"adapt@{target}")
            reproduce(workspace, f"gate@{target}")
            # A run that found the candidates fresh says nothing about the time they take.
            if candidates_of(workspace, target) != before:
                note_seconds(workspace, target, {"preparing_s": preparing_s, "pool_s": pool_s})
    return workspace


def reproduce(workspace: Workspace, *stages: str) -> int:
    """Bring ``stages`` up to date with DVC; how many seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *stages],
        cwd=workspace.root, env=child_environment(workspace.root), stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"dvc repro {' '.join(stages)} failed in {workspace.root}")
    return round(time.perf_counter() - started)


def candidates_of(workspace: Workspace, target: str) -> Candidates | None:
    """The candidates of ``target``, ``None`` before there are any."""
    folder = workspace.stage("adapt", target)
    return read_candidates(folder) if has_candidates(folder) else None


def note_seconds(workspace: Workspace, target: str, seconds: dict[str, int]) -> None:
    """Keep what the run that made the candidates of ``target`` took."""
    write_json(workspace.private / "bench.json", seconds_noted(workspace) | {target: seconds})


def seconds_noted(workspace: Workspace) -> dict[str, dict[str, int]]:
    """By target, what :func:`note_seconds` kept."""
    path = workspace.private / "bench.json"
    return read_json(path) if path.exists() else {}


def outcome(workspace: Workspace, target: str, pair: str) -> Outcome:
    """Counts the labels of ``target``, now that everything is chosen."""
    verdict = read_judged(workspace.stage("gate", target))
    accuracies = {
        row.name: row.holdout_accuracy for row in verdict.candidates if row.holdout_accuracy is not None
    }
    chosen = next(row for row in verdict.candidates if row.name == verdict.candidate)
    method = [
        row.name for row in verdict.candidates if (row.preset, row.route) == (chosen.preset, chosen.route)
    ]
    first_route = verdict.candidates[0].route
    baselines = [
        row.name for row in verdict.candidates if row.preset == "source_only" and row.route == first_route
    ]
    compared = (verdict.candidate, verdict.source_only.candidate)
    judged = {name: accuracy_on_judged(workspace, target, name) for name in compared}
    seconds = seconds_noted(workspace).get(target, {})
    return Outcome(
        pair,
        tuple(accuracies[name] for name in baselines),
        accuracies[verdict.target_statistics.candidate] if verdict.target_statistics else float("nan"),
        verdict.candidate,
        tuple(accuracies[name] for name in method if name in accuracies),
        accuracies[verdict.candidate],
        max(accuracies.values()),
        verdict.selected.n,
        judged[verdict.candidate][0],
        *judged[verdict.source_only.candidate],
        seconds.get("preparing_s"),
        seconds.get("pool_s"),
    )


def labels_of(workspace: Workspace, target: str) -> dict[str, str]:
    """Class names of all examples of the target by their folders or rows, by SHA-256."""
    reader = reader_of(load_params(workspace.params))
    places = (place_in_target(file, reader.plural, None) for file in reader.find(workspace.data(target)))
    classes = {place.path: place.class_folder or "" for place in places}
    examples = read_examples(workspace.stage("manifest", target))
    return {example.sha256: classes[example.path] for example in examples}


def accuracy_on_judged(workspace: Workspace, target: str, name: str) -> tuple[float, int]:
    """Accuracy of a candidate on the select and the hold-out split, by the class folders of the images."""
    labels = labels_of(workspace, target)
    folder = workspace.stage("adapt", target)
    classes = read_candidates(folder).classes
    selected = read_selected(workspace.stage("gate", target))
    bias = next(one.bias for one in selected.candidates if one.name == name)
    said = [read_split(folder / name, split) for split in ("select", "test")]
    right = [
        labels[sha256] == classes[number]
        for outputs in said
        if outputs is not None
        for sha256, number in zip(outputs.sha256_N, outputs.biased(bias).predictions(), strict=True)
    ]
    return float(np.mean(right)), len(right)


def describe(one: Outcome) -> str:
    """One line for the person who waits."""
    return (
        f"  {one.pair}: source-only {percent(one.source_only)}, selected {one.selected:.1%} ({one.chosen}),"
        f" oracle {one.oracle:.1%}, hold-out {one.num_holdout}"
    )


def percent(values: Sequence[float]) -> str:
    """Mean and range of several accuracies."""
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.1f}–{100 * max(values):.1f})"


def document(outcomes: Sequence[Outcome]) -> str:
    """docs/accuracy.md."""
    lines = [
        "# Accuracy of the models selected without labels",
        "",
        "Written by `make bench-accuracy DATA=folder` (benchmarks/accuracy.py). Labels of a target are counted here and",
        "decide nothing. Per cent of the hold-out, a fifth of the target that no loss and no score has seen. Source-only,",
        "trained on the source alone: mean and range over three seeds. Target statistics: the simplest adaptation, the same",
        "training with target images in the statistics of BatchNorm, as the gate compares it. Selected: the one candidate",
        "that the label-free rule chose. Its seeds: mean and range over all seeds of the chosen method. Oracle: the best of",
        "the pool by these labels; regret is oracle minus selected. Select + hold-out: the same count on twice the images,",
        "half of which the label-free score saw; source-only is the one that stands for all.",
        "Seconds: from images to features (the source's are made with the first target), and from there to all",
        "candidates of all seeds.",
        "",
        "| source → target | source-only | target statistics | selected | its seeds | oracle | regret | n | select + hold-out: source-only | selected | n | features, s | pool, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        lines.append(
            f"| {one.pair} | {percent(one.source_only)} | {100 * one.target_statistics:.1f} | **{100 * one.selected:.1f}** {one.chosen} | {percent(one.method)}"
            f" | {100 * one.oracle:.1f} | {100 * (one.oracle - one.selected):.1f} | {one.num_holdout}"
            f" | {100 * one.source_only_judged:.1f} | {100 * one.selected_judged:.1f} | {one.num_judged}"
            f" | {_seconds(one.preparing_s)} | {_seconds(one.pool_s)} |"
        )
    for kind, is_harder in (("pairs", False), ("harder targets", True)):
        mine = [one for one in outcomes if (HARDER_NAME in one.pair) == is_harder]
        if mine:
            lines += ["", _summary(kind, mine)]
    return "\n".join([*lines, ""])


def _summary(kind: str, outcomes: Sequence[Outcome]) -> str:
    """Mean regret, and where the selected model is behind."""
    regret = 100 * np.mean([one.oracle - one.selected for one in outcomes])
    below = [one.pair for one in outcomes if one.selected < np.mean(one.source_only)]
    on_more = [one.pair for one in outcomes if one.selected_judged < one.source_only_judged]
    return (
        f"Mean regret over {len(outcomes)} {kind}: {regret:.1f} points. Selected below the mean of source-only on:"
        f" {', '.join(below) or 'none'}. On select and hold-out together below the source-only that stands for all:"
        f" {', '.join(on_more) or 'none'}."
    )


def _seconds(number: int | None) -> str:
    return "—" if number is None else str(number)


if __name__ == "__main__":
    main()
