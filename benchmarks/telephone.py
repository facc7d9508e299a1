"""A speaker's recordings, half of them by telephone."""

from pathlib import Path

import numpy as np
import soundfile

from tasks.domains.sound.telephone import RATE_HZ, by_telephone


def split_by_telephone(origin: Path, folder: Path) -> tuple[Path, Path]:
    """Half of the recordings in ``origin`` as they are, and the other half by telephone: no recording is in both."""
    source, target = folder / "near", folder / "telephone"
    if not target.exists():
        partial = target.with_name(".telephone")
        for number, path in enumerate(sorted(origin.glob("*/*.wav"))):
            samples, rate_hz = soundfile.read(path, dtype="float32")
            is_near = number % 2 == 0
            place = (source if is_near else partial) / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            made = samples if is_near else by_telephone(samples.astype(np.float32), rate_hz, seed=number)
            soundfile.write(place, made, rate_hz if is_near else RATE_HZ, subtype="PCM_16")
        partial.rename(target)
    return source, target
