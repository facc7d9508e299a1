"""Stage `adapt`: every candidate of a target, source-only first, under one budget.

In:  results/features/{source,<target>}, results/views/<target>, results/finetune.
Out: candidates.json and, in a folder per candidate, model.safetensors, training.json and
     outputs.safetensors (probabilities and bottleneck features on the target's select and test
     splits and the source's validation split).

A candidate that aligns frozen features is recorded as the network it is shipped as: the target's map is
folded into it, and its outputs on the target are those of the plain features. Its outputs on the source's
validation split are those of the network as it was trained, behind the source's map: they say whether the
two domains met in one space, not what the exported model says of source images.

Source-only has seen no example of the target in any loss or statistic: it is the model that would go into service
without adaptation. Target statistics, the simplest adaptation, is the same training with target batches beside the
source's. An ensemble is joined last from the candidates that have a voice in it.

The inputs hold no labels of the target but those of its split ``labelled``. Every candidate, source-only
included, is trained on these few images alike: they are evidence that a team has, whatever the method, and
a candidate that alone had them would win by them. Where all candidates but source-only are source-free,
nothing of the source is opened: source-only is then the model of stage finetune, trained further only on
the labelled target images, if there are any. The head of a source-free candidate stays frozen with them too.
"""

from functools import cache, partial

from tasks.config.params import Params
from tasks.engine.candidates import join_candidate, solve_candidate, train_candidate
from tasks.engine.checkpoints import clear, digest_of
from tasks.engine.closed_forms import spread_labels
from tasks.engine.inputs import Inputs, aligned, read_inputs
from tasks.engine.plans import Plan, deeper_plans, shallow_plans
from tasks.errors import BadInput
from tasks.files import sha256_of_file
from tasks.losses.presets.check import check_presets
from tasks.provenance import code_digest
from tasks.records.candidates import (
    CandidateRecord,
    Candidates,
    is_finished,
    publish_candidate,
    write_candidates,
)
from tasks.records.features import FeaturesInfo
from tasks.selection.pool import pool_of
from tasks.workspace import Workspace


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Train every candidate of ``target`` and record what each says about the unlabelled splits."""
    check_presets(params)
    inputs = read_inputs(workspace, params, target)
    info = inputs.target.info
    _check_route(params, info)
    folder, scratch = workspace.stage("adapt", target), workspace.scratch("adapt", target)
    unfinished = scratch / _key(inputs)
    seen = cache(partial(aligned, inputs))
    spread = cache(partial(spread_labels, inputs))

    candidates: list[CandidateRecord] = []

    def finish(plan: Plan) -> None:
        """Make the candidate, unless an interrupted run has, and record it."""
        place, preset = unfinished / plan.name, params.adapt.presets[plan.preset]
        if preset.voices:  # made anew: an older one may have had other voices
            if not join_candidate(place, plan, inputs=inputs, voices=candidates, finished=folder):
                return
        elif not is_finished(place) and preset.closed_form:
            solve_candidate(place, plan, inputs=inputs, spread=spread())
        elif not is_finished(place):
            train_candidate(place, plan, inputs=inputs, seen=seen(plan.preset))
        candidates.append(publish_candidate(place, folder / plan.name))

    for plan in shallow_plans(params):
        finish(plan)
    if info.route == "deeper" and inputs.source is not None:
        for plan in deeper_plans(params, pool_of(folder, inputs.classes, candidates)):
            finish(plan)
    record = Candidates(
        target=target,
        classes=tuple(inputs.classes),
        route=info.route,
        route_reason=info.route_reason,
        precision=info.precision,
        candidates=tuple(candidates),
    )
    write_candidates(folder, record)
    clear(scratch)


def _key(inputs: Inputs) -> str:
    params = inputs.params
    return digest_of(
        params.adapt.model_dump(mode="json", exclude={"candidates", "seeds"}),
        params.model.model_dump(),
        params.finetune.model_dump(),
        params.features.model_dump(),
        [inputs.source and inputs.source.info.model_dump(), inputs.target.info.model_dump()],
        [sha256_of_file(inputs.start), code_digest("tasks.stages.adapt")],
    )


def _check_route(params: Params, info: FeaturesInfo) -> None:
    if info.route == "end_to_end" and params.adapt.aligned:
        raise BadInput(
            f"params.yaml: adapt.candidates {list(params.adapt.aligned)} align frozen features, but features.route"
            f" came to end_to_end, which keeps none ({info.route_reason}): leave them out, or set"
            " features.route to cached"
        )
