"""The report stage: one self-contained HTML page and one model card per target, from files only.

In:  results/manifest/{source,<target>}/{manifest.json,manifest.parquet}, results/validate/<target>/verdict.json,
     results/finetune/training.json, results/adapt/<target>/{candidates.json,<name>/training.json,
     <name>/outputs.safetensors}, results/gate/<target>/{selection.json,calibration.json,verdict.json,to_label.csv},
     results/export/<target>, results/probe/<target>/verdict.json; the examples that to_label.csv names
Out: results/report/<target>/{report.html,MODEL_CARD.md}

It decides nothing and recomputes no number of the gate. It adds words, pictures and a
check that the files refer to the same bytes. The page loads nothing, runs no script, and holds
no time of the run and no absolute path.
"""

import logging

from tasks.config.params import Params
from tasks.domains.kinds import reader_of
from tasks.files import write_text
from tasks.report.dossier import read_dossier
from tasks.report.layout import render
from tasks.report.page import describe
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Write the HTML report and the model card of ``target``.

    Raises:
        BadInput: A file of an earlier stage is missing or cannot be read; the message names it.
    """
    dossier = read_dossier(workspace, target)
    reader, data = reader_of(params), workspace.data(target)
    page = describe(dossier, params.gate, reader, data, max_map_points=params.report.max_map_points)
    folder = workspace.stage("report", target)
    write_text(folder / "report.html", render("report.html.j2", page))
    write_text(folder / "MODEL_CARD.md", render("model_card.md.j2", page))
    log.info("report of %s: verdict %s, %s", target, dossier.judged.verdict, folder / "report.html")
