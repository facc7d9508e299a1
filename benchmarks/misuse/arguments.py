"""Arguments for every command, good and bad."""

from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from benchmarks.misuse.damage import keys_of
from flows.runs.process import STAGES

Arguments = SearchStrategy[list[str]]
TARGETS = (
    *["new-camera"] * 20,
    *["unlabelled"] * 10,
    "no-such",
    "source",
    "",
    "../x",
    "New Camera",
    "no",
    "a" * 80,
    "\udcff",
    "-w",
    "\n",
)
"""Names of targets, good and bad."""
NUMBERS = ("0", "1", "2", "99", "-1", "x", "1e9", "99999999999999999999", "")
VALUES = (
    *("", "null", "[", "-1", "1e400", "x", "{a: 1}", "no", "[1, 2]", "!!python/object:os.system x"),
    *(
        "text",
        "image",
        "sound",
        "table",
        "e5-small-enpt",
        "logmel-cnn",
        "2024-13-01",
        "1" * 5000,
        "[" * 5000,
        "&a [*a]",
    ),
)
"""Values of settings, as text."""
TEXT = st.text(max_size=12).filter(lambda drawn: "\0" not in drawn)


def odd_folders(folder: Path) -> list[str]:
    """Places in ``folder`` that may be named instead of a workspace or of images; those that nothing else makes are made."""
    (folder / "a file").write_text("a file")
    (folder / "an empty folder").mkdir()
    (folder / "somebody's").mkdir()
    (folder / "somebody's" / "params.yaml").write_text("theirs: 1\n")
    names = (
        "a file",
        "an empty folder",
        "somebody's",
        "missing",
        "source",
        "new camera",
        "drawn",
        "drawn/bars",
    )
    return [str(folder / name) for name in names]


def good_files(root: Path, label: str) -> list[str]:
    """A file with an example, and a list of labels as `acclimate label` takes it."""
    example = next(path for path in sorted((root / "data" / "new-camera").rglob("*.*")) if path.is_file())
    labels = root.parent / "labels.csv"
    to_label = root / "results" / "gate" / "unlabelled" / "to_label.csv"
    header, *listed = to_label.read_text().splitlines()
    labels.write_text("\n".join([header, *(f"{line}{label}" for line in listed)]))
    return [str(example), str(labels)]


def some(*parts: Arguments) -> Arguments:
    """All of ``parts``, one after the other."""
    return st.tuples(*parts).map(lambda drawn: [piece for part in drawn for piece in part])


def maybe(*options: Arguments) -> Arguments:
    """Up to three of ``options``."""
    return st.lists(st.one_of(*options), max_size=3).map(
        lambda drawn: [piece for part in drawn for piece in part]
    )


def flag(name: str) -> Arguments:
    """An option without a value."""
    return st.just([name])


def option(name: str, value: SearchStrategy[str]) -> Arguments:
    """An option with a value."""
    return value.map(lambda drawn: [name, drawn])


def stage_of(name: str) -> Arguments:
    """The domain of a stage: none for finetune, and another one now and then."""
    good = [] if name == "finetune" else ["new-camera"]
    return st.sampled_from([good] * 15 + [["source"], [], ["no-such"], [""], ["../x"], ["\udcff"]])


def calls(root: Path, folder: Path, label: str) -> dict[str, Arguments]:
    """Arguments for every command on the workspace at ``root``, beside which ``folder`` holds other places.

    Args:
        root: The workspace.
        folder: Where other places are.
        label: A class of the workspace.
    """
    odd = odd_folders(folder)
    example, labels = good_files(root, label)
    path = st.sampled_from([*odd, example, labels, "/proc/self/mem", "/dev/null", ""]) | TEXT
    target, number = st.sampled_from(TARGETS), st.sampled_from(NUMBERS)
    one, place = target.map(lambda drawn: [drawn]), path.map(lambda drawn: [drawn])
    good_examples, good_labels = st.just([example]), st.just([labels])
    workspace = st.sampled_from([["-w", str(root)]] * 30 + [["-w", name] for name in odd] + [[]])
    setting = st.builds("{}={}".format, st.sampled_from(keys_of(root)) | TEXT, st.sampled_from(VALUES) | TEXT)
    who = maybe(option("--by", TEXT), option("--reason", TEXT), flag("--force"))
    return {
        "run": some(workspace, maybe(option("--target", target), flag("--no-prefect"), flag("--no-wait"), flag("--enforce"), flag("--json"))),
        "try": some(place, place, workspace, maybe(option("--set", setting), option("--holdout", path), option("--labelled", path), option("--name", target), option("--kind", st.sampled_from(("image", "text", "sound", "table", "smell", "")) | TEXT), option("--source-split", TEXT), flag("--follow-links"))),
        "demo": some(workspace, maybe(flag("--no-prefect"))),
        "stage": st.sampled_from([*STAGES, "nope", ""]).flatmap(lambda name: some(st.just([name]), stage_of(name))),
        "label": some(one, good_labels | maybe(place), workspace, maybe(flag("--json"))),
        "unseal": some(one, workspace),
        "promote": some(one, workspace, maybe(option("--version", number)), who),
        "rollback": some(one, workspace, maybe(option("--to", number)), who),
        "withdraw": some(one, option("--version", number), workspace, maybe(flag("--lift")), who),
        "freeze": some(one, workspace, maybe(flag("--lift")), who),
        "history": some(one, workspace, maybe(flag("--json"))),
        "status": some(workspace, maybe(flag("--json"))),
        "predict": some(one, good_examples | st.lists(path, min_size=1, max_size=2), workspace, maybe(option("--device", TEXT))),
        "serve": some(workspace, option("--port", number)),
        "export-triton": some(st.sampled_from([*odd[1:3], "/proc/x", ""]).map(lambda drawn: [drawn]), workspace),
        "up": some(workspace, maybe(option("--port", number))),
        "reconcile": some(workspace, flag("--dry-run")),
        "emit": some(one, place, workspace, maybe(option("--api", TEXT))),
        "clean": some(workspace, maybe(flag("--json"))),
        "doctor": some(workspace, maybe(flag("--json"))),
        "gate-audit": some(st.lists(path, max_size=2), maybe(option("--holdout", number), option("--draws", number))),
    }  # fmt: skip
