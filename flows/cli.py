"""The command line. Imports little: each command imports what it needs when it is called."""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.errors import AcclimateError, BadInput

if TYPE_CHECKING:
    from tasks.records.result import Result

app = typer.Typer(
    help="Adapt an image classifier to new sites without labels, prove or refuse the result, put it in service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="The workspace's folder.")]
ByOption = Annotated[str, typer.Option("--by", help="Who decides; kept in the registry's history.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the registry's history.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")
]


def main() -> None:
    """Run a command; an error that a person can act on becomes one message and its exit status."""
    try:
        app()
    except AcclimateError as error:
        print(f"acclimate: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except KeyboardInterrupt:
        print("acclimate: interrupted; finished stages are kept, run again to continue", file=sys.stderr)
        raise SystemExit(130) from None


@app.command()
def run(
    workspace: WorkspaceOption = Path(),
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="Only this target; may be repeated.")
    ] = None,
    no_prefect: Annotated[
        bool, typer.Option("--no-prefect", help="Walk the stages without a Prefect server.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Fail if another run has locked the workspace.")
    ] = False,
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Exit with 3 unless every verdict is promote.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Bring the workspace up to date: every stage for every target, and a verdict for each."""
    from flows.prefect_server import through_prefect
    from flows.runs.walk import run_pipeline

    _log_to_stderr()
    result = through_prefect(workspace, target, wait=not no_wait) if not no_prefect else run_pipeline(
        workspace, targets=target, wait=not no_wait
    )  # fmt: skip
    _print_result(result, json=json)
    if enforce and any(row.verdict.verdict != "promote" for row in result.targets.values()):
        raise typer.Exit(3)


@app.command("try")
def try_pair(
    source_dir: Annotated[Path, typer.Argument(help="SOURCE_DIR/<class>/* images with labels.")],
    target_dir: Annotated[
        Path, typer.Argument(help="Images without labels, flat; class folders serve the hold-out only.")
    ],
    holdout: Annotated[
        Path | None, typer.Option(help="Labelled target images, HOLDOUT/<class>/*, for the verdict alone.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(help="A few labelled target images, LABELLED/<class>/*, that training sees."),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="Where to make the workspace. [default: ./acclimate-TARGET]"),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of params.yaml; may be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run the whole pipeline on any pair of folders, in a workspace of its own."""
    from flows.commands.try_pair import try_folders

    _log_to_stderr()
    result = try_folders(
        source_dir, target_dir, holdout=holdout, labelled=labelled, workspace=workspace, overrides=settings or []
    )  # fmt: skip
    _print_result(result, json=json)


@app.command()
def demo(
    workspace: WorkspaceOption = Path(),
    no_prefect: Annotated[
        bool, typer.Option("--no-prefect", help="Walk the stages without a Prefect server.")
    ] = False,
) -> None:
    """Prepare the demo's digits from installed packages and run the pipeline on them."""
    from flows.prefect_server import through_prefect
    from flows.runs.walk import run_pipeline
    from tasks.domains.image.digits import prepare_demo

    _log_to_stderr()
    prepare_demo(workspace)
    result = run_pipeline(workspace) if no_prefect else through_prefect(workspace, None)
    _print_result(result, json=False)
    name, row = next(iter(result.targets.items()))
    print(
        f"\nReport: {workspace.resolve() / row.report}"
        f"\nIn service: acclimate promote {name} && acclimate serve"
        f"\nOne image:  acclimate predict {name} IMAGE"
    )


@app.command()
def stage(
    name: Annotated[
        str,
        typer.Argument(
            help="manifest, validate, features, views, finetune, adapt, gate, export, probe or report."
        ),
    ],
    domain: Annotated[str | None, typer.Argument(help="The domain or target it runs for.")] = None,
) -> None:
    """Run one stage in this folder, as dvc.yaml does; use `acclimate run` instead."""
    from flows.runs.process import run_here
    from flows.workspaces.programs import end_with_parent

    end_with_parent()  # a stage whose DVC process was killed must not go on writing while a rerun starts
    raise SystemExit(run_here(name, domain))


@app.command()
def label(
    target: str,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="results/gate/TARGET/to_label.csv with its column `label` filled in, from the top."
            " [default: asks for one label after another]"
        ),
    ] = None,
    workspace: WorkspaceOption = Path(),
    json: JsonOption = False,
) -> None:
    """Label images that can tell apart the models that the gate compares, until the matter is settled; judge again."""
    from flows.commands.label import label_disagreements

    _log_to_stderr()
    _print_result(label_disagreements(workspace, target, file), json=json)


@app.command()
def unseal(target: str, workspace: WorkspaceOption = Path(), json: JsonOption = False) -> None:
    """Show the accuracy of every candidate of TARGET. The labels prove nothing any more, and train the next model."""
    from flows.commands.unseal import unseal as unseal_labels

    _log_to_stderr()
    opened = unseal_labels(workspace, target)
    if json:
        print(_dumped(asdict(opened)))
    else:
        if opened.rows:
            _print_lines(opened.rows, json=False)
        print(opened.message)


@app.command()
def promote(
    target: str,
    workspace: WorkspaceOption = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Promote against the verdict; needs --by and --reason.")
    ] = False,
    by: ByOption = "",
    reason: ReasonOption = "",
) -> None:
    """Put the latest result of TARGET into service, if its verdicts allow it."""
    from flows.release import promote_latest

    _log_to_stderr()
    print(promote_latest(workspace, target, force=force, by=by, reason=reason))


@app.command()
def rollback(
    target: str, workspace: WorkspaceOption = Path(), by: ByOption = "", reason: ReasonOption = ""
) -> None:
    """Put the previous champion of TARGET back into service."""
    from flows.release import roll_back

    _log_to_stderr()
    print(roll_back(workspace, target, by=by, reason=reason))


@app.command()
def status(workspace: WorkspaceOption = Path(), json: JsonOption = False) -> None:
    """Champion, previous and latest verdict of every target."""
    from flows.release import describe_status

    _print_lines([asdict(row) for row in describe_status(workspace)], json=json)


@app.command()
def predict(
    target: str,
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    workspace: WorkspaceOption = Path(),
    device: Annotated[str, typer.Option(help="auto, cuda, tensorrt or cpu.")] = "auto",
) -> None:
    """Classify images with TARGET's champion (its latest export before any promotion); JSON lines."""
    from flows.commands.predict import predict_files

    failures = predict_files(workspace, target, images, device=device)
    if failures:
        raise typer.Exit(BadInput.exit_status)


@app.command()
def serve(
    workspace: WorkspaceOption = Path(),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    device: Annotated[str, typer.Option(help="auto, cuda, tensorrt or cpu.")] = "auto",
) -> None:
    """Answer POST /predict/TARGET with every champion, reloading after promote and rollback."""
    from deploy.server.app import serve as serve_workspace

    _log_to_stderr()
    serve_workspace(workspace, host=host, port=port, device=device)  # type: ignore[arg-type]


@app.command("export-triton")
def export_triton(destination: Path, workspace: WorkspaceOption = Path()) -> None:
    """Write a Triton model repository with every champion."""
    from deploy.triton import export_triton as write_repository

    for path in write_repository(_workspace(workspace), destination):
        print(path)


@app.command()
def up(
    workspace: WorkspaceOption = Path(),
    port: Annotated[
        int, typer.Option(help="Port of the Prefect server that is started if none answers.")
    ] = 4200,
) -> None:
    """Start (or use) a Prefect server and serve the deployments `retrain` and `adapt-on-arrival`."""
    from flows.up import serve_deployments

    _log_to_stderr()
    serve_deployments(workspace, port=port)


@app.command()
def emit(
    target: str,
    folder: Annotated[Path, typer.Argument(help="A batch of unlabelled images.")],
    workspace: WorkspaceOption = Path(),
    api: Annotated[str | None, typer.Option(help="Prefect API. [default: that of `acclimate up`]")] = None,
) -> None:
    """Hand in a batch of images of TARGET: copy it to the landing zone and tell the arrival flow."""
    from flows.commands.emit import emit_batch

    _log_to_stderr()
    print(emit_batch(workspace, target, folder, api=api))


@app.command("gate-audit")
def gate_audit(
    workspaces: Annotated[list[Path], typer.Argument(help="Finished workspaces whose targets are labelled.")],
    holdout: Annotated[int, typer.Option(min=1, help="Labelled images of each drawn hold-out.")] = 200,
    draws: Annotated[int, typer.Option(min=1, help="Hold-outs drawn per target.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Decides the draws.")] = 0,
    years: Annotated[
        int, typer.Option(min=0, help="Simulated years per scenario, in which no candidate is better.")
    ] = 100,
    json: JsonOption = False,
) -> None:
    """Measure how often the gate is wrong: replay it over recorded and deliberately bad candidates."""
    from flows.commands.gate_audit import audit
    from flows.commands.tables import audit_tables
    from tasks.audit.replay import Draws

    _log_to_stderr()
    result = audit(workspaces, Draws(holdout, draws, seed), years=years)
    print(_dumped(result) if json else audit_tables(result))


def _workspace(root: Path) -> Any:
    from tasks.workspace import Workspace

    return Workspace(root.resolve())


def _print_result(result: "Result", *, json: bool) -> None:
    from flows.commands.tables import result_table, stage_table
    from tasks.records.record import as_json

    if json:
        print(_dumped(as_json(result)))
        return
    print(stage_table(result))
    print()
    print(result_table(result))


def _dumped(content: object) -> str:
    import json

    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _print_lines(rows: Sequence[Mapping[str, object]], *, json: bool) -> None:
    import json as json_module

    from flows.commands.tables import aligned

    if json:
        print(json_module.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        print(
            "\n".join(
                aligned(
                    [
                        {key: "-" if value is None else str(value) for key, value in row.items()}
                        for row in rows
                    ]
                )
            )
        )
    else:
        print("no targets")


def _log_to_stderr() -> None:
    # stdout belongs to results.
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    for noisy in ("httpx", "prefect", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
