"""Sounds as the rest of the code reads them, in training and in service: speech, machines, any waveform."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tasks.config.params import Params
from tasks.config.sections.kind import KindParams
from tasks.domains.contract import (
    BeyondLimits,
    Facets,
    InputSpec,
    Limits,
    Measure,
    Measured,
    Measures,
    StillOpen,
    UnreadableExample,
    Views,
)
from tasks.domains.description import NOTHING, tally
from tasks.domains.folder import FoundFile, list_files, read_refusals
from tasks.domains.opened import opened
from tasks.domains.shown import Medium, Shown
from tasks.domains.sound.decode import READ, Waveform, decode
from tasks.domains.sound.fit import LOWEST_SOUND, STEP_S, fit, load_libraries
from tasks.domains.sound.measures import measure_waveform
from tasks.domains.sound.perceived import drawn, playable
from tasks.domains.sound.spec import rate_in, sound_spec
from tasks.domains.sound.views import VIEWS
from tasks.errors import BadInput

MEASURES: Mapping[str, type] = {
    "seconds": float,
    "rate_hz": int,
    "channels": int,
    "format": str,
    "level_db": float,
    "offset": float,
    "clipped": float,
    "silent": float,
}
"""The measures of a recording in the manifest: its length, samples per second, channels and format; its level below full
scale; the mean of its samples; and the shares of it that are clipped, and silent."""

NO_SOUND = frozenset({
    ".m4a", ".aac", ".wma", ".amr", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mid", ".midi", ".txt", ".csv", ".pdf", ".jpg",
    ".png", ".npy", ".zip",
})  # fmt: skip
"""Endings of files that libsndfile does not read, or that hold something else."""

BYTES_PER_SECOND = 64_000 * 8
"""Memory and bytes of a file are bounded as if a second had so many samples of eight bytes: 384 kHz, or 8 channels of 48 kHz."""

BYTES_BESIDES = 2**28
MAX_SOURCE_FILES = 200
LONGEST_S = 10.0
PERCENTILE = 95
"""The percentile of the lengths in the source that becomes ``sounds.seconds`` where it is left open."""


@dataclass(frozen=True)
class Sounds:
    """The reader of sounds; see `tasks.domains.contract.Reader`."""

    spec: InputSpec
    max_seconds: int

    kind: ClassVar[str] = "sound"
    noun: ClassVar[str] = "sound"
    plural: ClassVar[str] = "sounds"
    pattern: ClassVar[str] = "*.wav"
    has_rows: ClassVar[bool] = False
    media_type: ClassVar[str] = "audio/"
    measures: ClassVar[Mapping[str, type]] = MEASURES
    likeness: ClassVar[str | None] = None
    captured: ClassVar[str | None] = None
    views: ClassVar[Views] = VIEWS
    loads: ClassVar[tuple[str, ...]] = ("soundfile", "soxr")

    @classmethod
    def of_params(cls, params: Params) -> "Sounds":
        """Sounds of the length and rate in section ``sounds``.

        Raises:
            StillOpen: There is no length yet.
        """
        sounds = params.sounds
        if sounds.seconds is None:
            raise StillOpen(
                "params.yaml: sounds.seconds is null. `acclimate run` takes it from the lengths in the source, and writes it there."
            )
        return cls(sound_spec(sounds.rate_hz, sounds.seconds), sounds.max_seconds)

    @classmethod
    def of_spec(cls, spec: InputSpec, limits: Limits) -> "Sounds":
        """Sounds as a model takes them.

        Raises:
            BadInput: The model expects them to be prepared in another way.
        """
        rate_in(spec)
        return cls(spec, limits["max_seconds"])

    @classmethod
    def limits_in(cls, params: KindParams) -> Limits:
        """The seconds of the longest recording that the section ``sounds`` lets in."""
        return {"max_seconds": params.sounds.max_seconds}

    @classmethod
    def memory_within(cls, limits: Limits) -> int:
        """Enough for the recording, its copies while it is prepared, and the decoder."""
        return 4 * BYTES_PER_SECOND * limits["max_seconds"] + BYTES_BESIDES

    @classmethod
    def settings_from(cls, params: Params, source: Path, measure: Measure) -> Mapping[str, Any]:
        """A length that holds nearly all recordings of the source, where ``sounds.seconds`` has none.

        Raises:
            BadInput: None of those that were looked at can be read.
        """
        if params.sounds.seconds is not None:
            return {}
        sounds = params.sounds
        reader = cls(sound_spec(sounds.rate_hz, LONGEST_S), sounds.max_seconds)
        return {"sounds": {"seconds": _usual_seconds(source, reader, measure)}}

    @property
    def limits(self) -> Limits:
        """Longer recordings are refused."""
        return {"max_seconds": self.max_seconds}

    @property
    def facets(self) -> Facets:
        """None."""
        return {}

    def find(self, folder: Path) -> list[FoundFile]:
        """The recordings below ``folder``, and what the importer could not copy into it."""
        found = [*map(_checked, list_files(folder)), *read_refusals(folder)]
        return sorted(found, key=lambda file: (file.path, file.reason or ""))

    def load(self, path: Path) -> bytes:
        """The bytes of a file that may hold a recording of up to ``max_seconds``.

        Raises:
            UnreadableExample: It is missing, no regular file, unreadable, or larger than any such recording.
        """
        most = BYTES_PER_SECOND * self.max_seconds
        with opened(path) as (file, size):
            if size > most:
                raise BeyondLimits(
                    f"{size / 2**20:,.0f} MiB, more than {self.max_seconds:,} s (sounds.max_seconds) of any sound: cut it into examples",
                    needed={"max_seconds": math.ceil(size / BYTES_PER_SECOND)},
                )
            return file.read()

    def identity(self, content: bytes) -> bytes:
        """The samples: the same recording in a container without loss is no other one.

        Raises:
            UnreadableExample: With the reason.
        """
        waveform = self._decoded(content)
        head = f"{waveform.rate_hz} {waveform.samples_FK.shape[1]}\n"
        return head.encode() + waveform.samples_FK.tobytes()

    def read(self, path_or_bytes: Path | bytes) -> np.ndarray:
        """The samples of a recording, float32 ``(S,)`` in [-1, 1], padded with `PADDING`.

        Raises:
            UnreadableExample: With the reason; the message also names the path if there is one.
        """
        try:
            content = path_or_bytes if isinstance(path_or_bytes, bytes) else self.load(path_or_bytes)
            return fit(self._decoded(content), rate_hz=rate_in(self.spec), num_samples=self.spec.shape[0])
        except BeyondLimits:
            raise
        except UnreadableExample as error:
            path = None if isinstance(path_or_bytes, bytes) else path_or_bytes
            raise UnreadableExample(error.reason, path=path) from error

    def warm_up(self) -> None:
        """The libraries that decode and resample."""
        load_libraries()

    def of_json(self, value: object) -> bytes:
        """No sound comes as JSON.

        Raises:
            UnreadableExample: Always.
        """
        raise UnreadableExample("a sound is sent as its file, and not as JSON")

    def measure(self, content: bytes) -> Measured:
        """Length, rate, channels, format, level, offset, clipping and silence.

        Raises:
            UnreadableExample: With the reason.
        """
        waveform = self._decoded(content)
        fit(waveform, rate_hz=rate_in(self.spec), num_samples=self.spec.shape[0])
        return Measured(measure_waveform(waveform), "; ".join(waveform.notes) or None)

    def _decoded(self, content: bytes) -> Waveform:
        return decode(content, max_seconds=self.max_seconds)

    def checked(self, measures: Measures) -> Measures:
        """The seconds, those that are cut off, the share of the model's rate, and how much is clipped, silent or off centre."""
        rate_hz, seconds = rate_in(self.spec), float(measures.get("seconds") or 0)
        return {
            "seconds": seconds,
            "seconds_cut": max(0.0, round(seconds - self.spec.shape[0] / rate_hz, 3)),
            "rate_hz": measures.get("rate_hz"),
            "rate_share": min(1.0, int(measures.get("rate_hz") or 0) / rate_hz),
            "clipped": measures.get("clipped"),
            "silent": measures.get("silent"),
            "offset": measures.get("offset"),
        }

    def excerpt(self, path: Path) -> str:
        """The length of the recording, which has to be heard.

        Raises:
            UnreadableExample: With the reason.
        """
        return f"{self._decoded(self.load(path)).seconds:.2f} s"

    def show(self, path: Path) -> Shown:
        """The recording as the model hears it, with its spectrogram, and its whole length.

        Raises:
            UnreadableExample: With the reason.
        """
        waveform = self._decoded(self.load(path))
        rate_hz = rate_in(self.spec)
        fitted_S = fit(waveform, rate_hz=rate_hz, num_samples=self.spec.shape[0])
        heard_S = fitted_S[fitted_S > LOWEST_SOUND]
        heard_s = len(heard_S) / rate_hz
        told = f"{waveform.seconds:.2f} s"
        if waveform.seconds > heard_s + STEP_S:
            told += f"; the loudest {heard_s:.2f} s are played, as the model hears them"
        sound = Medium(
            "audio/flac", playable(heard_S, rate_hz), f"Sound of {heard_s:.2f} s, as the model hears it"
        )
        axes = f"{heard_s:.2f} s from left to right, 0 to {rate_hz // 2:,} Hz from below to above"
        picture = Medium("image/png", drawn(heard_S, rate_hz), f"Spectrogram: {axes}")
        return Shown(told=told, picture=picture, sound=sound)

    def describe(self, measured: Sequence[Measures]) -> list[tuple[str, str]]:
        """Lengths, rates, channels, formats and levels."""
        seconds = sorted(float(length) for one in measured if (length := one.get("seconds")) is not None)
        levels = [float(level) for one in measured if (level := one.get("level_db")) is not None]
        middle = (
            f"{np.median(seconds):.2f} in the middle, {seconds[0]:.2f} to {seconds[-1]:.2f}"
            if seconds
            else NOTHING
        )
        return [
            ("Length in seconds", middle),
            ("Samples per second", tally(f"{one['rate_hz']:,}" for one in measured if one.get("rate_hz"))),
            ("Channels", tally(str(one["channels"]) for one in measured if one.get("channels"))),
            ("Format", tally(str(one["format"]) for one in measured if one.get("format"))),
            ("Level below full scale", f"{np.median(levels):.0f} dB in the middle" if levels else NOTHING),
        ]


def _checked(file: FoundFile) -> FoundFile:
    suffix = Path(file.path).suffix.lower()
    if file.reason is not None or suffix not in NO_SOUND:
        return file
    return FoundFile(file.path, f"{suffix} files cannot be read as sound: save it as {READ}")


def _usual_seconds(source: Path, reader: Sounds, measure: Measure) -> float:
    """The length within which nearly all recordings of the source are, in tenths of a second, rounded up."""
    paths = [source / file.path for file in reader.find(source) if file.reason is None]
    measured = measure(reader, paths[:: max(1, len(paths) // MAX_SOURCE_FILES)])
    seconds = [float(length) for one in measured if (length := one.get("seconds")) is not None]
    if not seconds:
        raise BadInput(
            f"{source} holds no recording that can be read, from which sounds.seconds could be taken. Put class folders with"
            f" {READ} files there, or set sounds.seconds in params.yaml."
        )
    usual = float(np.percentile(seconds, PERCENTILE, method="inverted_cdf"))
    return min(LONGEST_S, math.ceil(round(10 * usual, 3)) / 10)
