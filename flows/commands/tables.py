"""The tables a person reads at the end of a run."""

from tasks.amounts import percent, points
from tasks.audit.rows import Audit, ConfusionRow, KindRow, Passed, PromiseRow, Share
from tasks.records.result import Result, TargetResult


def result_rows(result: Result) -> list[dict[str, str]]:
    """One row per target: verdict, chosen candidate and the three accuracies, as text."""
    return [_row(name, target) for name, target in result.targets.items()]


def result_table(result: Result) -> str:
    """The same rows as aligned text, a reason under each."""
    rows = result_rows(result)
    if not rows:
        return "no target got through"
    lines = aligned(rows)
    for name, target in result.targets.items():
        lines.append("")
        lines.append(f"{name}: {target.verdict.verdict}")
        lines.extend(f"  - {reason}" for reason in target.verdict.reasons)
        lines.extend(f"  ! {warning}" for warning in target.verdict.warnings)
        if target.quarantined:
            lines.append(f"  ! {len(target.quarantined)} files left out; the report lists them with reasons")
    return "\n".join(lines)


def stage_table(result: Result) -> str:
    """Status, wall time and peak memory of every stage, as aligned text."""
    return "\n".join(aligned(stage_rows(result)))


def stage_rows(result: Result) -> list[dict[str, str]]:
    """One row per stage, and their sum."""
    rows = [
        {
            "stage": f"{stage.name}@{stage.target}" if stage.target else stage.name,
            "status": stage.status,
            "seconds": f"{stage.seconds:.1f}",
            "peak MiB": str(stage.peak_mib),
        }
        for stage in result.stages
    ]
    total = sum(stage.seconds for stage in result.stages)
    rows.append({"stage": "total", "status": "", "seconds": f"{total:.1f}", "peak MiB": ""})
    return rows


def _row(name: str, target: TargetResult) -> dict[str, str]:
    evidence = target.evidence
    if evidence and evidence.disagreements:
        sample = evidence.disagreements
        return {
            "target": name,
            "verdict": target.verdict.verdict,
            "candidate": target.selected.candidate,
            "source-only": "not measured",
            "target statistics": "not measured",
            "selected": f"{points(evidence.gain)} points",
            "oracle": "not measured",
            "hold-out": f"{sample.labelled} of {sample.total} disagreements",
        }
    return {
        "target": name,
        "verdict": target.verdict.verdict,
        "candidate": target.selected.candidate,
        "source-only": _percent(target.source_only.accuracy),
        "target statistics": _statistics(target),
        "selected": _percent(target.selected.accuracy),
        "oracle": _percent(target.oracle.accuracy),
        "hold-out": str(target.selected.n),
    }


def _statistics(target: TargetResult) -> str:
    simplest = target.target_statistics
    return "diverged" if simplest is None else _percent(simplest.accuracy)


def _percent(accuracy: float | None) -> str:
    return "no labels" if accuracy is None else percent(accuracy)


def aligned(rows: list[dict[str, str]]) -> list[str]:
    """Rows as lines of text under their keys, columns aligned."""
    headings = list(rows[0])
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in headings}
    lines = ["  ".join(key.ljust(widths[key]) for key in headings).rstrip()]
    lines.append("  ".join("-" * widths[key] for key in headings))
    lines.extend("  ".join(row[key].ljust(widths[key]) for key in headings).rstrip() for row in rows)
    return lines


def markdown(rows: list[dict[str, str]]) -> str:
    """Rows as a markdown table under their keys."""
    headings = list(rows[0])
    lines = [headings, ["---"] * len(headings), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TRUTHS = {
    "worse": "worse by more than 2 points",
    "alike": "within 2 points",
    "better": "better by more than 2 points",
}


def audit_tables(result: Audit) -> str:
    """The result of `acclimate gate-audit` as markdown."""
    draws, tasks = result["draws"], result["tasks"]
    rests = [task["truth_images"] for task in tasks]
    num_candidates = sum(len(task["candidates"]) for task in tasks)
    lines = [
        f"{num_candidates} candidates of {len(tasks)} targets; with labels, {draws['count']} hold-outs of"
        f" {draws['holdout']} images each, drawn with seed {draws['seed']}.",
        "Truth is accuracy minus that of source-only: with labels on the labelled test"
        f" images outside the drawn hold-out ({min(rests)} to {max(rests)}), without labels on all of them. Draws of"
        " one candidate overlap: they are no independent trials.",
        "One by one, labels judge every candidate as if selection had chosen it and vetoed nothing; without labels it"
        " must pass the vetoes and beat source-only by the score that decides.",
        "",
        markdown([_promise(row) for row in result["promises"]]),
        "",
        markdown([_confusion(row) for row in result["confusion"] if row["trials"]]),
        "",
        markdown([_kind(row) for row in result["kinds"]]),
    ]
    vetoed = result["vetoes"]
    if vetoed["of"]:
        lines += [
            "",
            f"{vetoed['of']} candidates were vetoed; {vetoed['right']} of them are truly worse than source-only.",
        ]
    estimates = result["estimates"]
    if estimates["mean_error"] is not None:
        lines += [
            "",
            f"Accuracies estimated without labels, of the candidates that selection chose from the recorded ones: off by"
            f" {100 * estimates['mean_error']:.1f} points on average; the interval held {estimates['held']} of"
            f" {estimates['of']}.",
        ]
    unusable = [f"{task['target']}: {name}" for task in tasks for name in task["unusable"]]
    if unusable:
        lines += ["", f"Without usable outputs, so never judged: {', '.join(unusable)}"]
    if result["left_out"]:
        lines += ["", f"Left out: {'; '.join(result['left_out'])}"]
    return "\n".join(lines)


def _promise(row: PromiseRow) -> dict[str, str]:
    return _setting(row) | {
        "worse by > 2 points: let through": _of(row["worse"]),
        "worse by all test images": _of(row["worse_by_all"]),
        "better by >= 5 points: let through": _of(row["clearly_better"]),
        "better by all test images": _of(row["clearly_better_by_all"]),
    }


def _confusion(row: ConfusionRow) -> dict[str, str]:
    return _setting(row) | {
        "truly": TRUTHS[row["truth"]],
        "trials": str(row["trials"]),
        "promoted": str(row["let_through"]) if row["labels"] else "-",
        "provisional": "-" if row["labels"] else str(row["let_through"]),
        "held": str(row["hold"]),
        "rejected": str(row["reject"]),
    }


def _kind(row: KindRow) -> dict[str, str]:
    return {
        "candidates one by one": row["kind"],
        "number": str(row["candidates"]),
        "mean true gain, points": points(row["mean_gain"]),
        "truly worse": str(row["truly_worse"]),
        "promoted with labels": _of(row["with_labels"]),
        "worse ones promoted": _of(row["with_labels"]["worse"]),
        "provisional without": _of(row["without_labels"]),
        "worse ones provisional": _of(row["without_labels"]["worse"]),
    }


def _setting(row: PromiseRow | ConfusionRow) -> dict[str, str]:
    return {"how": row["way"], "pool": row["pool"], "labels": "yes" if row["labels"] else "no"}


def _of(count: Share | Passed) -> str:
    if not count["of"]:
        return "-"
    return f"{count['let_through']} of {count['of']} ({percent(count['let_through'] / count['of'])})"
