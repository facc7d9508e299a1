"""The command line. Imports little: each command imports what it needs when it is called."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.terminal import log_to_stderr, prepare_process
from tasks.errors import AcclimateError, BadInput, Fault, as_fault
from tasks.files import printable

app = typer.Typer(
    help="Adapt a classifier to new sites without labels, prove or refuse the result, put it in service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _checked(root: Path) -> Path:
    """``root``, if it is a workspace: no command writes into anything else."""
    from flows.workspaces.marker import open_workspace

    open_workspace(root)
    return root


WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", help="The workspace's folder.", callback=_checked)
]
ServedOption = Annotated[
    Path, typer.Option("--workspace", "-w", help="The workspace's folder, or a copy of its registry.")
]
"""For commands that only read a registry."""
ByOption = Annotated[
    str, typer.Option("--by", help="Who decides; kept in the registry's history.", callback=printable)
]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why; kept in the registry's history.", callback=printable)
]
NoPrefectOption = Annotated[
    bool, typer.Option("--no-prefect", help="Walk the stages without a Prefect server.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")
]


def main() -> None:
    """Run a command; an error that a person can act on becomes one message and its exit status."""
    prepare_process()
    if sys.argv[1:2] != ["stage"]:  # which DVC starts, and whose lines are for a log
        log_to_stderr()
    try:
        app()
    except (AcclimateError, OSError) as error:
        told = as_fault(error, "the system refused")
        print(f"acclimate: {told}", file=sys.stderr)
        raise SystemExit(told.exit_status) from None
    except SystemExit as ended:  # typer's, also after Ctrl-C
        if ended.code == 130:
            print("acclimate: interrupted; finished stages are kept, run again to continue", file=sys.stderr)
        raise
    except Exception as error:
        from flows.commands.bug import told_as_bug

        print(f"acclimate: {told_as_bug(error)}", file=sys.stderr)
        raise SystemExit(Fault.exit_status) from None


@app.command()
def run(
    workspace: WorkspaceOption = Path(),
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="Only this target; may be repeated.")
    ] = None,
    no_prefect: NoPrefectOption = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Fail if another run has locked the workspace.")
    ] = False,
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Exit with 3 unless every verdict is promote.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Bring the workspace up to date: every stage for every target, and a verdict for each."""
    from flows.commands.output import print_result
    from flows.prefect_server import through_prefect
    from flows.runs.result import TargetsFailed
    from flows.runs.walk import run_pipeline

    try:
        result = (
            run_pipeline(workspace, targets=target, wait=not no_wait).raise_failures()
            if no_prefect
            else through_prefect(workspace, target, wait=not no_wait)
        )
    except TargetsFailed as failure:
        if failure.result and failure.result.targets:
            print_result(failure.result, json=json)
        raise
    print_result(result, json=json)
    if enforce and any(row.verdict.verdict != "promote" for row in result.targets.values()):
        raise typer.Exit(3)


@app.command("try")
def try_pair(
    source_dir: Annotated[
        Path,
        typer.Argument(
            help="SOURCE_DIR/<class>/* with labels; texts and tables also as a .csv, .jsonl or .parquet file."
        ),
    ],
    target_dir: Annotated[
        Path, typer.Argument(help="Examples without labels, flat; class folders serve the hold-out only.")
    ],
    holdout: Annotated[
        Path | None, typer.Option(help="Labelled target examples, HOLDOUT/<class>/*, for the verdict alone.")
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(help="A few labelled target examples, LABELLED/<class>/*, that training sees."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="The form of an example: image, text, sound or table. [default: by the files in SOURCE_DIR]"
        ),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="Where to make the workspace. [default: ./acclimate-TARGET]"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The target's name. [default: after its folder]")] = None,
    source_split: Annotated[
        str | None, typer.Option(help="The part of SOURCE_DIR to learn from, such as train.")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Copy what links in these folders lead to, wherever it is.")
    ] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of params.yaml; may be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run the whole pipeline on any pair of folders, in a workspace of its own."""
    from flows.commands.output import print_result
    from flows.commands.try_pair import try_folders

    result = try_folders(
        source_dir, target_dir, holdout=holdout, labelled=labelled, workspace=workspace, overrides=settings or [],
        name=name, kind=kind, source_split=source_split, follow_links=follow_links,
    )  # fmt: skip
    print_result(result, json=json)


@app.command()
def demo(
    kind: Annotated[str, typer.Option(help="The examples: image, text, sound or table.")] = "image",
    workspace: Annotated[Path | None, typer.Option("--workspace", "-w")] = None,
    no_prefect: NoPrefectOption = False,
) -> None:
    """Make a demo's data from packages and run the pipeline on them, here or in acclimate-demo-KIND."""
    from flows.commands.demo import run_demo

    run_demo(kind, workspace, no_prefect=no_prefect)


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
    """Label examples that can tell apart the models that the gate compares, until the matter is settled; judge again."""
    from flows.commands.label import label_disagreements
    from flows.commands.output import print_result

    print_result(label_disagreements(workspace, target, file), json=json)


@app.command()
def unseal(target: str, workspace: WorkspaceOption = Path(), json: JsonOption = False) -> None:
    """Show the accuracy of every candidate of TARGET. The labels prove nothing any more, and train the next model."""
    from flows.commands.output import print_json, print_rows
    from flows.commands.unseal import unseal as unseal_labels

    opened = unseal_labels(workspace, target)
    if json:
        print_json(asdict(opened))
    else:
        if opened.rows:
            print_rows(opened.rows, json=False)
        print(opened.message)


@app.command()
def promote(
    target: str,
    workspace: WorkspaceOption = Path(),
    version: Annotated[
        int | None,
        typer.Option(min=1, help="This one, even if it was withdrawn. [default: the latest result]"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Against the verdict or a freeze; needs --by and --reason.")
    ] = False,
    by: ByOption = "",
    reason: ReasonOption = "",
) -> None:
    """Put the latest result of TARGET, or one of its versions, into service, if its verdicts allow it."""
    from flows.release import promote_latest

    print(promote_latest(workspace, target, version=version, force=force, by=by, reason=reason))


@app.command()
def rollback(
    target: str,
    workspace: WorkspaceOption = Path(),
    to: Annotated[
        int | None, typer.Option(min=1, help="An earlier champion. [default: the one before]")
    ] = None,
    by: ByOption = "",
    reason: ReasonOption = "",
) -> None:
    """Put the previous champion of TARGET back into service; the version that it takes out is withdrawn."""
    from flows.release import roll_back

    print(roll_back(workspace, target, to=to, by=by, reason=reason))


@app.command()
def withdraw(
    target: str,
    version: Annotated[int, typer.Option(min=1, help="The version to keep out of service.")],
    workspace: WorkspaceOption = Path(),
    lift: Annotated[bool, typer.Option("--lift", help="Let it serve again.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it leaves the target without a champion.")
    ] = False,
    by: ByOption = "",
    reason: ReasonOption = "",
) -> None:
    """Keep a version of TARGET out of service; if it is in service, the previous champion comes back."""
    from flows import release

    if lift:
        print(release.lift(workspace, target, version, by=by, reason=reason))
    else:
        print(release.withdraw(workspace, target, version, force=force, by=by, reason=reason))


@app.command()
def freeze(
    target: str,
    workspace: WorkspaceOption = Path(),
    lift: Annotated[bool, typer.Option("--lift", help="End the freeze.")] = False,
    by: ByOption = "",
    reason: ReasonOption = "",
) -> None:
    """Keep the champion of TARGET whatever the policy says; rollback and withdrawal still work."""
    from flows.release import freeze as freeze_target

    print(freeze_target(workspace, target, lifted=lift, by=by, reason=reason))


@app.command()
def history(target: str, workspace: WorkspaceOption = Path(), json: JsonOption = False) -> None:
    """Every publication, verdict, promotion, rollback, withdrawal and freeze of TARGET, oldest first."""
    from flows.commands.output import print_rows
    from flows.release import history_rows, read_history

    entries = read_history(workspace, target)
    print_rows(entries if json else history_rows(entries), json=json, nothing="nothing happened yet")


@app.command()
def status(workspace: WorkspaceOption = Path(), json: JsonOption = False) -> None:
    """Champion, previous, withdrawn versions and latest verdict of every target."""
    from flows.commands.status import print_status

    print_status(workspace, json=json)


@app.command()
def predict(
    target: str,
    files: Annotated[list[Path], typer.Argument(help="Files of examples, or tables of them.")],
    workspace: WorkspaceOption = Path(),
    device: Annotated[str, typer.Option(help="auto, cuda, tensorrt or cpu.")] = "auto",
) -> None:
    """Classify examples with TARGET's champion (its latest export before any promotion); JSON lines."""
    from flows.commands.predict import predict_files

    failures = predict_files(workspace, target, files, device=device)
    if failures:
        raise typer.Exit(BadInput.exit_status)


@app.command()
def serve(
    workspace: ServedOption = Path(),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    device: Annotated[str, typer.Option(help="auto, cuda, tensorrt or cpu.")] = "auto",
) -> None:
    """Answer POST /predict/TARGET with every champion, reloading after promote and rollback."""
    from deploy.server.app import serve as serve_workspace

    serve_workspace(workspace, host=host, port=port, device=device)  # type: ignore[arg-type]


@app.command("export-triton")
def export_triton(destination: Path, workspace: ServedOption = Path()) -> None:
    """Write a Triton model repository with every champion."""
    from deploy.triton import export_triton as write_repository
    from tasks.workspace import Workspace

    print(*write_repository(Workspace(workspace.resolve()), destination), sep="\n")


@app.command()
def up(
    workspace: WorkspaceOption = Path(),
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the Prefect server, if none answers.")
    ] = 4200,
) -> None:
    """Start (or use) a Prefect server and serve the deployments: retrain, adapt on arrival, reconcile."""
    from flows.up import serve_deployments

    serve_deployments(workspace, port=port)


@app.command()
def reconcile(
    workspace: WorkspaceOption = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what is due and what waits; change nothing.")
    ] = False,
) -> None:
    """Do what is due: take in, adapt, publish, promote, push. `acclimate up` does so by itself."""
    from flows.catch_up import reconcile_now
    from flows.commands.output import print_due

    print_due(reconcile_now(workspace, dry_run=dry_run), dry_run=dry_run)


@app.command()
def emit(
    target: str,
    folder: Annotated[Path, typer.Argument(help="A batch of unlabelled examples.")],
    workspace: WorkspaceOption = Path(),
    api: Annotated[str | None, typer.Option(help="Prefect API. [default: that of `acclimate up`]")] = None,
) -> None:
    """Hand in a batch of examples of TARGET: copy it to the landing zone and tell the arrival flow."""
    from flows.commands.emit import emit_batch

    print(emit_batch(workspace, target, folder, api=api))


@app.command()
def clean(
    workspace: WorkspaceOption = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    json: JsonOption = False,
) -> None:
    """List what the workspace may do without by section `clean` of params.yaml; with --yes, remove it."""
    from flows.commands.clean import clean as clean_workspace
    from flows.commands.clean import raise_failed, told
    from flows.commands.output import print_json

    cleaned = clean_workspace(workspace, yes=yes)
    if json:
        print_json(asdict(cleaned))
    else:
        print("\n".join(told(cleaned, yes=yes)))
    raise_failed(cleaned.failed)


@app.command()
def doctor(
    workspace: Annotated[
        Path | None, typer.Option("--workspace", "-w", help="The workspace's folder. [default: this folder]")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look at the machine and the workspace, and say what to do for what is not as it should be; change nothing."""
    from flows.commands.doctor import examine, print_findings

    if not print_findings(examine(workspace), json=json):
        raise typer.Exit(Fault.exit_status)


@app.command("gate-audit")
def gate_audit(
    workspaces: Annotated[list[Path], typer.Argument(help="Finished workspaces whose targets are labelled.")],
    holdout: Annotated[int, typer.Option(min=1, help="Labelled examples of each drawn hold-out.")] = 200,
    draws: Annotated[int, typer.Option(min=1, help="Hold-outs drawn per target.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Decides the draws.")] = 0,
    years: Annotated[
        int, typer.Option(min=0, help="Simulated years per scenario, in which no candidate is better.")
    ] = 100,
    json: JsonOption = False,
) -> None:
    """Measure how often the gate is wrong: replay it over recorded and deliberately bad candidates."""
    from flows.commands.gate_audit import audit
    from flows.commands.output import print_json
    from flows.commands.tables import audit_tables
    from tasks.audit.replay import Draws

    result = audit(workspaces, Draws(holdout, draws, seed), years=years)
    if json:
        print_json(result)
    else:
        print(audit_tables(result))


if __name__ == "__main__":
    main()
