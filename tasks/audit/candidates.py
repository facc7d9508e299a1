"""Candidates that are meant to be worse than source-only, for the audit of the gate.

    bad_sign_flipped        DANN whose reversed gradient has the wrong sign: the domains are driven apart
    bad_label_shifted       InfoMax told class shares that grow with the square of a rank drawn at random
    bad_mislabelled_source  trained on the source after 40 % of its labels were shuffled among themselves
    bad_class_order         a good candidate whose head has its rows moved on by one
    bad_collapsed           the entropy of target predictions minimised, with nothing to spread them
    bad_overtrained_dann    DANN at ten times the weight for three times the steps

Each is made for every seed of source-only, at the depth of the frozen features where there are several,
by the trainer that makes all candidates, and on the few labelled target images if there are any. The post-step
``adapt.adabn`` is left out: it undoes a collapse, and what is meant to be bad must stay so. They live in the
workspace's scratch folder: nothing of ``results`` is written. A trained candidate is kept there under a digest of
all that decides it.

Shape suffixes: N = source rows, B = target rows of a batch, C = classes.
"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tasks.audit.replay import BAD_KINDS
from tasks.config.params import Params
from tasks.engine.candidates import first_model, judged_outputs, route_of
from tasks.engine.checkpoints import Checkpoints, clear, digest_of
from tasks.engine.inputs import Inputs, labelled_rows, read_inputs
from tasks.engine.plans import Plan, recipe_of
from tasks.engine.rows import labelled_split
from tasks.engine.trainer import Diverged, LabelledRows, train
from tasks.files import sha256_of_file
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import WeightedTerm
from tasks.losses.dann import DomainAdversarial, domain_adversarial_loss
from tasks.losses.infomax import InfoMax
from tasks.losses.parts.gradient_reversal import reversal_weight
from tasks.models.checkpoint import save_checkpoint
from tasks.provenance import code_digest
from tasks.records.candidates import (
    MODEL,
    CandidateRecord,
    Status,
    copy_outputs,
    is_finished,
    mark_finished,
    read_all_splits,
    read_candidates,
    read_finished,
    write_candidates,
    write_outputs,
)
from tasks.records.features import RouteName
from tasks.selection.pool import SOURCE_ONLY, Candidate, Pool, read_pool
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

HIDDEN = 256
"""Width of the discriminators' hidden layers."""

FLIPPED_WEIGHT = 3.0
WRONG_PRIOR_WEIGHT = 1.0
SHUFFLED_SHARE = 0.4
COLLAPSE_WEIGHT = 3.0
GOOD_BET = "mcc_centroid"
"""The preset whose classes are put in a wrong order."""
OVERTRAINED_WEIGHT = 10.0
OVERTRAINED_STEPS = 3
"""In multiples of the budget."""

NEEDS_SOURCE = ("bad_sign_flipped", "bad_mislabelled_source", "bad_overtrained_dann")


def with_bad_candidates(workspace: Workspace, params: Params, target: str) -> Pool:
    """The recorded candidates of ``target`` and the bad ones, in one pool in the scratch folder.

    Raises:
        BadInput: There are no recorded candidates, or files of earlier stages are missing.
    """
    adapted = workspace.stage("adapt", target)
    recorded, pool = read_candidates(adapted), read_pool(adapted)
    inputs = read_inputs(workspace, params, target)
    scratch, key = workspace.scratch("gate-audit", target), _key(inputs)
    for stale in scratch.iterdir() if scratch.exists() else ():
        if stale.name != key:
            clear(stale)
    folder = scratch / "pool"
    candidates = list(recorded.candidates)
    for candidate in candidates:
        copy_outputs(adapted / candidate.name, folder / candidate.name)
    for plan in _plans(pool, inputs):
        made = scratch / key / plan.name
        if plan.preset == "bad_class_order":
            _move_classes(plan, pool, made)
        elif not is_finished(made):
            _train_bad(plan, inputs, made)
        copy_outputs(made, folder / plan.name)
        candidates.append(read_finished(made))
    write_candidates(folder, recorded.model_copy(update={"candidates": tuple(candidates)}))
    return read_pool(folder)


def _key(inputs: Inputs) -> str:
    params = inputs.params
    return digest_of(
        params.adapt.model_dump(mode="json", exclude={"candidates", "seeds", "presets", "deeper"}),
        params.model.model_dump(),
        params.finetune.model_dump(),
        params.features.model_dump(),
        [inputs.source and inputs.source.info.model_dump(), inputs.target.info.model_dump()],
        [sha256_of_file(inputs.start), code_digest("tasks.audit.candidates")],
    )


def _plans(recorded: Pool, inputs: Inputs) -> list[Plan]:
    seeds = dict.fromkeys(one.seed for one in recorded.candidates if one.preset == SOURCE_ONLY)
    possible = [kind for kind in BAD_KINDS if inputs.source is not None or kind not in NEEDS_SOURCE]
    return [Plan(kind, seed, deeper=False) for kind in possible for seed in seeds]


def _train_bad(plan: Plan, inputs: Inputs, folder: Path) -> None:
    """Train one bad candidate into ``folder``; its candidate.json is written last and marks it finished."""
    recipe = recipe_of(inputs.params, plan, route=inputs.target.route)
    if plan.preset == "bad_overtrained_dann":
        recipe = replace(recipe, steps=OVERTRAINED_STEPS * recipe.steps)
    source = None if inputs.source is None else labelled_split(inputs.source, "train", inputs.classes)
    if source is not None and plan.preset == "bad_mislabelled_source":
        source = shuffle_labels(source, share=SHUFFLED_SHARE, seed=plan.training_seed)
    model, _ = first_model(plan, inputs, source_free=False)
    unfinished = Checkpoints(folder / "unfinished.safetensors")
    status: Status = "trained"
    try:
        train(
            model,
            recipe,
            source=source,
            target=inputs.target.rows("adapt"),
            labelled=labelled_rows(inputs, kind="inputs"),
            terms=bad_terms(
                plan.preset,
                feature_width=inputs.params.model.bottleneck,
                num_classes=len(inputs.classes),
                seed=plan.training_seed,
            ),
            checkpoints=unfinished,
        )
        write_outputs(folder, judged_outputs(model, inputs.target, model, inputs.source, kind=plan.kind))
    except Diverged as error:
        status = "diverged"
        log.warning("gate-audit: %s diverged: %s", plan.name, error)
    save_checkpoint(folder / MODEL, model, classes=inputs.classes)
    _mark_finished(
        folder,
        plan,
        route=route_of(plan, inputs.target),
        status=status,
        checkpoint_sha256=sha256_of_file(folder / MODEL),
    )
    unfinished.path.unlink(missing_ok=True)
    log.info("gate-audit: %s %s after %d steps", plan.name, status, recipe.steps)


def bad_terms(kind: str, *, feature_width: int, num_classes: int, seed: int) -> list[WeightedTerm]:
    """The target losses that make a kind of ``BAD_KINDS`` bad; none where something else does."""
    match kind:
        case "bad_sign_flipped":
            flipped = DrivenApart(feature_width=feature_width, hidden=HIDDEN, weight=FLIPPED_WEIGHT)
            return [WeightedTerm(1.0, flipped)]
        case "bad_label_shifted":
            wrong = InfoMax(num_classes=num_classes, prior=wrong_prior(num_classes, seed=seed))
            return [WeightedTerm(WRONG_PRIOR_WEIGHT, wrong)]
        case "bad_collapsed":
            return [WeightedTerm(COLLAPSE_WEIGHT, EntropyAlone(num_classes=num_classes))]
        case "bad_overtrained_dann":
            strong = DomainAdversarial(feature_width=feature_width, hidden=HIDDEN, weight=OVERTRAINED_WEIGHT)
            return [WeightedTerm(1.0, strong)]
    return []


class DrivenApart(DomainAdversarial):
    """DANN with the sign that ``params.yaml`` cannot express: features and discriminator descend together."""

    def forward(self, batch: JointBatch) -> Tensor:
        """The discriminator's loss, which the features lower as well, at their weight."""
        joint = torch.cat([batch.source_features_BD, batch.target_features_BD])
        still = joint.detach()
        driven = still + self.weight * reversal_weight(batch.progress) * (joint - still)
        logits = self.discriminator(driven)
        num_source = len(batch.source_features_BD)
        return domain_adversarial_loss(logits[:num_source], logits[num_source:])


class EntropyAlone(InfoMax):
    """InfoMax without what spreads the predictions over the classes."""

    def forward(self, batch: JointBatch) -> Tensor:
        """Mean entropy of the target predictions, in ``[0, ln C]``."""
        log_p_BC = functional.log_softmax(batch.target_logits_BC, dim=1)
        return -(log_p_BC.exp() * log_p_BC).sum(1).mean()


def wrong_prior(num_classes: int, *, seed: int) -> list[float]:
    """Class shares that grow with the square of a rank, in an order drawn with ``seed``; they sum to 1.

    For 7 classes .35, .26, .18, ...: far from even, and yet spread over more classes than the collapse
    veto asks for.
    """
    ranks_C = np.random.default_rng(seed).permutation(num_classes) + 1
    return (ranks_C**2 / (ranks_C**2).sum()).tolist()


def shuffle_labels(source: LabelledRows, *, share: float, seed: int) -> LabelledRows:
    """``source`` with the labels of a drawn share of its rows permuted among these rows."""
    rng = np.random.default_rng(seed)
    num_drawn = round(share * len(source.labels_N))
    drawn = rng.permutation(len(source.labels_N))[:num_drawn]
    labels_N = source.labels_N.clone()
    labels_N[torch.from_numpy(drawn)] = source.labels_N[torch.from_numpy(rng.permutation(drawn))]
    return LabelledRows(source.rows, labels_N)


def _move_classes(plan: Plan, recorded: Pool, folder: Path) -> None:
    """The outputs of a recorded candidate with its head's rows moved on by one: those of the next class."""
    origin = _best_bet(recorded, plan.training_seed)
    moved = read_all_splits(recorded.folder / origin.name)
    for split, said in moved.items():
        moved[split] = replace(said, probabilities_NC=np.roll(said.probabilities_NC, 1, axis=1))
    # No model is written, so that the outputs stand for it.
    digest = sha256_of_file(write_outputs(folder, moved))
    _mark_finished(folder, plan, route=origin.route, status="trained", checkpoint_sha256=digest)


def _best_bet(recorded: Pool, seed: int) -> Candidate:
    """The recorded candidate of a seed that is most likely good."""

    def order(candidate: Candidate) -> tuple[bool, bool]:
        return candidate.preset != GOOD_BET, candidate.preset == SOURCE_ONLY

    return min((one for one in recorded.candidates if one.trained and one.seed == seed), key=order)


def _mark_finished(
    folder: Path, plan: Plan, *, route: RouteName, status: Status, checkpoint_sha256: str
) -> None:
    record = CandidateRecord(
        name=plan.name,
        preset=plan.preset,
        seed=plan.seed,
        route=route,
        checkpoint_sha256=checkpoint_sha256,
        status=status,
        warnings=(),
    )
    mark_finished(folder, record)
