"""Stage `adapt`: every candidate of a target, source-only first, under one budget.

In:  results/features/{source,<target>}, results/finetune.
Out: candidates.json and, a folder a candidate, model.safetensors, training.json and
     outputs.safetensors (probabilities and bottleneck features on the target's select and test
     splits and the source's validation split).

Never reads a label of the target: there is none in its inputs.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from tasks.config import Params
from tasks.devices import make_deterministic, training_device
from tasks.engine.checkpoints import Checkpoints, clear
from tasks.engine.trainer import Diverged, Recipe, train
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_file, write_bytes, write_json
from tasks.finetune import Features, build_classifier, digest_of, labelled_split, read_features
from tasks.losses.terms import build_terms
from tasks.models.classifier import Classifier, load_checkpoint, predict, save_checkpoint
from tasks.provenance import code_digest
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Train every candidate of ``target`` and record what each says about the unlabelled splits."""
    source = read_features(workspace.stage("features", "source"))
    target_features = read_features(workspace.stage("features", target))
    classes = read_json(workspace.stage("finetune") / "training.json")["classes"]
    start = workspace.stage("finetune") / "model.safetensors"
    folder, scratch = workspace.stage("adapt", target), workspace.scratch("adapt", target)

    inputs_key = digest_of(
        params.adapt.model_dump(exclude={"candidates", "seeds"}),
        params.model.model_dump(),
        params.finetune.model_dump(),
        [source.info, target_features.info, sha256_of_file(start), code_digest("tasks.adapt")],
    )
    candidates = []
    for preset in sorted(params.adapt.candidates, key=lambda name: name != "source_only"):
        for seed in params.adapt.seeds:
            name = f"{preset}-{seed}"
            finished = scratch / inputs_key / name
            if not (finished / "candidate.json").exists():
                _train_candidate(
                    finished, preset=preset, seed=seed, params=params, start=start, source=source,
                    target=target_features, classes=classes,
                )  # fmt: skip
            candidates.append(_publish_candidate(finished, folder / name))
    write_json(
        folder / "candidates.json",
        {"schema_version": 1, "target": target, "classes": classes, "candidates": candidates},
    )
    clear(scratch)


def _train_candidate(
    folder: Path, *, preset: str, seed: int, params: Params, start: Path, source: Features, target: Features,
    classes: list[str],
) -> None:  # fmt: skip
    """Train one candidate into ``folder``; its candidate.json is written last and marks it finished."""
    recipe = _recipe(params, seed)
    make_deterministic(seed)
    model = build_classifier(params, source, num_classes=len(classes))
    if params.adapt.start == "finetuned":
        load_checkpoint(start, model)
    model.to(training_device())
    terms = build_terms(
        params.adapt.presets[preset], feature_width=params.model.bottleneck, num_classes=len(classes)
    )
    status, curve = "trained", []
    try:
        curve = train(
            model,
            recipe,
            source=labelled_split(source, "train", classes),
            target_inputs=target.split("adapt"),
            terms=terms,
            checkpoints=Checkpoints(folder / "unfinished.safetensors"),
        )
    except Diverged as error:
        if preset == "source_only":
            raise BadInput(
                f"params.yaml: adapt.learning_rate {recipe.learning_rate} is too high: source-only diverged, {error}"
            ) from error
        status = "diverged"
        log.warning("adapt: candidate %s-%d diverged: %s", preset, seed, error)
    save_checkpoint(folder / "model.safetensors", model, classes=classes)
    write_json(folder / "training.json", {"schema_version": 1, "curve": curve})
    if status == "trained":
        write_bytes(folder / "outputs.safetensors", save(_outputs(model, source, target)))
    write_json(
        folder / "candidate.json",
        {
            "name": f"{preset}-{seed}",
            "preset": preset,
            "seed": seed,
            "checkpoint_sha256": sha256_of_file(folder / "model.safetensors"),
            "status": status,
        },
    )
    log.info("adapt: candidate %s-%d %s after %d steps", preset, seed, status, recipe.steps)


def _recipe(params: Params, seed: int) -> Recipe:
    adapt, finetune = params.adapt, params.finetune
    return Recipe(
        scope=finetune.scope,
        last_k=finetune.last_k,
        batch_norm=finetune.batch_norm,
        augment=finetune.augment,
        steps=adapt.steps,
        batch_size=adapt.batch_size,
        learning_rate=adapt.learning_rate,
        backbone_learning_rate_ratio=adapt.backbone_learning_rate_ratio,
        weight_decay=adapt.weight_decay,
        label_smoothing=adapt.label_smoothing,
        seed=seed,
    )


def _outputs(model: Classifier, source: Features, target: Features) -> dict[str, np.ndarray]:
    """Probabilities, bottleneck features and hashes of the splits that judge a candidate."""
    arrays = {}
    for split, domain in (("select", target), ("test", target), ("validation", source)):
        inputs = domain.split(split)
        hashes = domain.index.loc[domain.index["split"] == split, "sha256"]
        if len(inputs) == 0:
            continue
        outputs = predict(model, inputs)
        arrays[f"{split}.probabilities"] = torch.softmax(outputs.logits_NC, dim=1).numpy()
        arrays[f"{split}.features"] = outputs.features_ND.numpy()
        arrays[f"{split}.sha256"] = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(
            -1, 32
        )
    return arrays


def _publish_candidate(finished: Path, folder: Path) -> dict[str, Any]:
    """Copy a finished candidate from scratch to the stage's results; its row of candidates.json."""
    for file in ("model.safetensors", "training.json", "outputs.safetensors"):
        if (finished / file).exists():
            write_bytes(folder / file, (finished / file).read_bytes())
    return read_json(finished / "candidate.json")
