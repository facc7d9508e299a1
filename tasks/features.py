"""Stage `features`: what training reads, computed once an image.

In:  data/<domain>, results/manifest/<domain>.
Out: inputs.npy, one row an image: float32 features of the frozen backbone (route ``cached``) or
     uint8 pixels resized to the square (route ``end_to_end``); index.parquet with sha256, split and,
     for the source alone, label; info.json.

No label of a target leaves the manifest here: what adapts cannot read what it must not know.

Shape suffixes: N = images, S = side in px, 3 = colour channels, D = feature width.
"""

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.config import Params
from tasks.devices import training_device
from tasks.domains.images import load_square
from tasks.files import atomic_file, read_json, write_json
from tasks.models.backbones import Backbone, build_backbone
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

BATCH = 64


def run(workspace: Workspace, params: Params, domain: str) -> None:
    """Write the training inputs of one domain."""
    manifest = workspace.stage("manifest", domain)
    rows = usable_rows(manifest / "manifest.parquet")
    paths = [workspace.data(domain) / path for path in rows["path"]]

    backbone_sha256 = None
    if params.features.route == "cached":
        torch.manual_seed(params.finetune.seed)  # decides the weights only under `weights: none`
        backbone = build_backbone(params.model, size_px=params.images.size_px)
        backbone_sha256 = parameters_sha256(backbone)
        inputs = extract(backbone, paths, size_px=params.images.size_px, max_pixels=params.images.max_pixels)
    else:
        inputs = read_pixels(paths, size_px=params.images.size_px, max_pixels=params.images.max_pixels)

    folder = workspace.stage("features", domain)
    with atomic_file(folder / "inputs.npy") as file:
        np.save(file, inputs, allow_pickle=False)
    index = rows[["sha256", "split"]].assign(label=rows["label"] if domain == "source" else None)
    with atomic_file(folder / "index.parquet") as file:
        index.astype({"label": "str"} if domain == "source" else {}).to_parquet(file, index=False)
    write_json(
        folder / "info.json",
        {
            "schema_version": 1,
            "route": params.features.route,
            "rows": len(rows),
            "shape": list(inputs.shape[1:]),
            "data_digest": read_json(manifest / "manifest.json")["data_digest"],
            "backbone_sha256": backbone_sha256,
        },
    )
    log.info("features %s: %d images, %s %s", domain, len(rows), params.features.route, inputs.shape[1:])


def usable_rows(manifest: Path) -> pd.DataFrame:
    """The manifest's usable rows in the order of their content hash, whatever their names."""
    rows = pd.read_parquet(manifest)
    return rows.loc[rows["status"] == "ok"].sort_values(by="sha256", kind="stable").reset_index(drop=True)


def read_pixels(paths: list[Path], *, size_px: int, max_pixels: int) -> np.ndarray:
    """Images as uint8 ``(N, S, S, 3)``, in the order of ``paths``."""
    pixels_NSS3 = np.empty((len(paths), size_px, size_px, 3), dtype=np.uint8)

    def read(row: int) -> None:
        pixels_NSS3[row] = load_square(paths[row], size_px=size_px, max_pixels=max_pixels)

    with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter lock
        list(pool.map(read, range(len(paths))))
    return pixels_NSS3


def extract(backbone: Backbone, paths: list[Path], *, size_px: int, max_pixels: int) -> np.ndarray:
    """Frozen features of images as float32 ``(N, D)``, reading ``BATCH`` images at a time."""
    device = training_device()
    backbone.eval().to(device)
    features_ND = np.empty((len(paths), backbone.feature_width), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            pixels = read_pixels(paths[start : start + BATCH], size_px=size_px, max_pixels=max_pixels)
            features_ND[start : start + BATCH] = (
                backbone(torch.from_numpy(pixels).to(device)).float().cpu().numpy()
            )
    return features_ND


def parameters_sha256(module: torch.nn.Module) -> str:
    """SHA-256 over names and values of all parameters and statistics."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
