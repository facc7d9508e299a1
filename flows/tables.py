"""The tables a person reads at the end of a run."""

from typing import Any


def result_rows(result: dict[str, Any]) -> list[dict[str, str]]:
    """One row a target: verdict, chosen candidate and the three accuracies, as text."""
    return [_row(name, target) for name, target in result["targets"].items()]


def result_table(result: dict[str, Any]) -> str:
    """The same rows as aligned text, a reason under each."""
    rows = result_rows(result)
    if not rows:
        return "no target got through"
    lines = aligned(rows)
    for name, target in result["targets"].items():
        lines.append("")
        lines.append(f"{name}: {target['verdict']['verdict']}")
        lines.extend(f"  - {reason}" for reason in target["verdict"]["reasons"])
        lines.extend(f"  ! {warning}" for warning in target["verdict"]["warnings"])
        if target["quarantined"]:
            lines.append(
                f"  ! {len(target['quarantined'])} files left out; the report lists them with reasons"
            )
    return "\n".join(lines)


def stage_table(result: dict[str, Any]) -> str:
    """Status, wall time and peak memory of every stage, as aligned text."""
    rows = [
        {
            "stage": f"{stage['name']}@{stage['target']}" if stage["target"] else stage["name"],
            "status": stage["status"],
            "seconds": f"{stage['seconds']:.1f}",
            "peak MiB": str(stage["peak_mib"]),
        }
        for stage in result["stages"]
    ]
    total = sum(stage["seconds"] for stage in result["stages"])
    rows.append({"stage": "total", "status": "", "seconds": f"{total:.1f}", "peak MiB": ""})
    return "\n".join(aligned(rows))


def _row(name: str, target: dict[str, Any]) -> dict[str, str]:
    evidence = target["evidence"] or {}
    sample = evidence.get("disagreements")
    if sample:
        return {
            "target": name,
            "verdict": target["verdict"]["verdict"],
            "candidate": target["selected"]["candidate"],
            "source-only": "not measured",
            "selected": f"{100 * evidence['gain']:+.1f} points",
            "oracle": "not measured",
            "hold-out": f"{sample['labelled']} of {sample['total']} disagreements",
        }
    return {
        "target": name,
        "verdict": target["verdict"]["verdict"],
        "candidate": target["selected"]["candidate"],
        "source-only": _percent(target["source_only"]["accuracy"]),
        "selected": _percent(target["selected"]["accuracy"]),
        "oracle": _percent(target["oracle"]["accuracy"]),
        "hold-out": str(target["selected"]["n"]),
    }


def _percent(accuracy: float | None) -> str:
    return "no labels" if accuracy is None else f"{100 * accuracy:.1f} %"


def aligned(rows: list[dict[str, str]]) -> list[str]:
    """Rows as lines of text under their keys, columns aligned."""
    headings = list(rows[0])
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in headings}
    lines = ["  ".join(key.ljust(widths[key]) for key in headings).rstrip()]
    lines.append("  ".join("-" * widths[key] for key in headings))
    lines.extend("  ".join(row[key].ljust(widths[key]) for key in headings).rstrip() for row in rows)
    return lines
