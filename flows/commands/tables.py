"""The tables a person reads at the end of a run."""

from tasks.amounts import percent, points
from tasks.audit.rows import Audit, ConfusionRow, KindRow, Passed, PowerRow, PromiseRow, Share, YearRow
from tasks.records.result import Result, TargetResult
from tasks.records.verdict import FreshPrice, HoldoutPrice, Sample
from tasks.report.wording import evidence, level


def result_rows(result: Result) -> list[dict[str, str]]:
    """One row per target: verdict, chosen candidate and the three accuracies, as text."""
    return [_row(name, target) for name, target in result.targets.items()]


def result_table(result: Result) -> str:
    """The same rows as aligned text, under each the reasons and what the labels cost."""
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
        lines.append(f"  labels: {_price(target)}")
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
    sample = _sample(target)
    gain = target.evidence.gain if target.evidence is not None and sample is not None else None
    selected = _accuracy(target, target.selected.accuracy)
    return {
        "target": name,
        "verdict": target.verdict.verdict,
        "candidate": target.selected.candidate,
        "source-only": _accuracy(target, target.source_only.accuracy),
        "target statistics": _statistics(target),
        "selected": selected if gain is None or target.source_only.n else f"{points(gain)} points",
        "oracle": _accuracy(target, target.oracle.accuracy),
        "hold-out": _labelled(target.source_only.n, sample),
    }


def _sample(target: TargetResult) -> Sample | None:
    """The fresh labels, where they are the evidence."""
    return None if target.evidence is None else target.evidence.disagreements


def _labelled(num_holdout: int, sample: Sample | None) -> str:
    fresh = "" if sample is None else f"{sample.labelled} of {sample.total} disagreements"
    if not fresh:
        return str(num_holdout)
    return f"{num_holdout}, and {fresh}" if num_holdout else fresh


def _statistics(target: TargetResult) -> str:
    simplest = target.target_statistics
    return "diverged" if simplest is None else _accuracy(target, simplest.accuracy)


def _accuracy(target: TargetResult, accuracy: float | None) -> str:
    if accuracy is not None:
        return percent(accuracy)
    if target.sealed and target.source_only.n > 0:
        return "sealed"
    return "no labels" if _sample(target) is None else "not measured"


def _price(target: TargetResult) -> str:
    """The price of the verdict, in one line."""
    price, sample = target.price, _sample(target)
    told = []
    if price.fresh is not None and sample is not None:
        told.append(_price_of_fresh(price.fresh, sample))
    if price.holdout is not None:
        told += _price_of_holdout(price.holdout)
    if target.source_only.n > 0 and (not target.sealed or (price.holdout and price.holdout.spent_since)):
        told.append("labels spent")
    has_question = (
        target.verdict.verdict in ("provisional", "hold")
        and target.selected.candidate != target.source_only.candidate
    )
    if not told and has_question and price.next_fresh > 0:
        told.append(f"a proof takes evidence of {evidence(1 / price.next_fresh)} on fresh labels")
    left = price.left / price.share if price.share > 0 else 0.0
    return "; ".join([*(told or ["none read"]), f"{percent(left, digits=0)} of this year's budget is left"])


def _price_of_fresh(fresh: FreshPrice, sample: Sample) -> str:
    if fresh.threshold is None:
        return "no verdict on fresh labels is left this year"
    reached = evidence(fresh.evidence, beside=fresh.threshold)
    told = f"evidence {reached} of {evidence(fresh.threshold)} needed on {sample.labelled} fresh labels"
    if fresh.evidence >= fresh.threshold or sample.labelled == sample.total:
        return told
    return f"{told}, about {fresh.more} more" if fresh.more else f"{told}, more would probably not do"


def _price_of_holdout(look: HoldoutPrice) -> list[str]:
    if look.spent_since is not None:
        return []
    if look.place == 0:
        return ["a look at the hold-out that could only find harm"]
    reach = f"p had to reach {level(look.level)}" if look.alpha > 0 else "none of the budget was left for it"
    return [f"candidate {look.place} on this hold-out, {reach}"]


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
        f" {draws['holdout']} examples each, drawn with seed {draws['seed']}.",
        "Truth is accuracy minus that of source-only: with labels on the labelled test"
        f" examples outside the drawn hold-out ({min(rests)} to {max(rests)}), without labels on all of them. Draws of"
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
    if result["years"]:
        lines += [
            "",
            "Simulated years in which no candidate is better, by the settings of the first workspace:",
            "",
            markdown([_year(row) for row in result["years"]]),
            "",
            "First verdicts on simulated candidates:",
            "",
            markdown([_power(row) for row in result["first_verdicts"]]),
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
        "worse by all test examples": _of(row["worse_by_all"]),
        "0 to 2 points worse": _of(row["not_better"]),
        "0 to 2 by all test examples": _of(row["not_better_by_all"]),
        "better by >= 5 points: let through": _of(row["clearly_better"]),
        "better by all test examples": _of(row["clearly_better_by_all"]),
    }


def _year(row: YearRow) -> dict[str, str]:
    return {
        "a year of": row["scenario"],
        "years": str(row["years"]),
        "with a false promotion": f"{row['promoted']} ({percent(row['promoted'] / row['years'])})",
    }


def _power(row: PowerRow) -> dict[str, str]:
    return {
        "true gain, points": points(row["gain"]),
        "one of the two is right on": percent(row["discordance"], digits=0),
        "candidates": str(row["draws"]),
        "promoted on 200 labels": percent(row["on_holdout"] / row["draws"]),
        "promoted on up to 120 fresh labels": percent(row["on_fresh_labels"] / row["draws"]),
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
