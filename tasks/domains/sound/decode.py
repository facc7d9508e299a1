"""From bytes to a waveform: every format, rate and number of channels that libsndfile reads, told by what was decided.

Shape suffixes: F = frames, one moment of all channels; K = channels.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.domains.contract import BeyondLimits, UnreadableExample
from tasks.errors import BadInput

if TYPE_CHECKING:
    import soundfile

READ = ".wav, .flac, .ogg, .mp3 or .aiff"
FRAMES_AT_ONCE = 1024
"""Damage in the middle loses no more than these before it."""
MAX_CHANNELS = 64

_SHORTFALL = 0.01
"""A file that lacks more than this share of what its header promises is told; encoders of MP3 round."""


class _Content(io.BytesIO):
    """Bytes in which a damaged header can lead nowhere: libsndfile calls this from C, where an error would only be printed."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


@dataclass(frozen=True)
class Waveform:
    """A decoded recording."""

    samples_FK: np.ndarray
    """float32; whole formats are in [-1, 1]."""
    rate_hz: int
    format: str
    """Container and encoding, as libsndfile names them: ``WAV PCM_16``."""
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples_FK) / self.rate_hz


def decode(content: bytes, *, max_seconds: float) -> Waveform:
    """The waveform in ``content``.

    Raises:
        UnreadableExample: It holds none, or not a finite one.
        BeyondLimits: It is longer than ``max_seconds``; its header is believed, and so are the frames.
    """
    if not content:
        raise UnreadableExample("the file is empty")
    library: Any = sound_files()
    try:
        with library.SoundFile(_Content(content)) as file:
            return _whole(file, max_seconds, is_short=_is_short_wav(content))
    except library.LibsndfileError as error:
        raise UnreadableExample(f"cannot be read as sound: it is damaged, or no {READ} file") from error
    except (OverflowError, MemoryError, SystemError) as error:
        raise UnreadableExample(f"cannot be read as sound ({type(error).__name__})") from error


def _whole(file: "soundfile.SoundFile", max_seconds: float, *, is_short: bool) -> Waveform:
    rate_hz, promised = int(file.samplerate), int(file.frames)
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise UnreadableExample(f"{file.channels} channels, more than {MAX_CHANNELS}: mix them down")
    blocks, num = [], 0
    for block_FK in _blocks(file):
        num += len(block_FK)
        if num > max_seconds * rate_hz:
            seconds = max(num, promised if promised < 2**62 else 0) / rate_hz
            raise BeyondLimits(
                f"{seconds:,.0f} s or more, above the {max_seconds:,} of sounds.max_seconds: cut it into examples",
                needed={"max_seconds": int(np.ceil(min(seconds, 2**31)))},
            )
        blocks.append(block_FK)
    if num == 0:
        raise UnreadableExample("holds no sound: it has a header, and nothing behind it")
    samples_FK = np.concatenate(blocks)
    if not np.isfinite(samples_FK).all():
        raise UnreadableExample("holds samples that are no finite numbers (NaN or infinity)")
    if (samples_FK == samples_FK[0]).all():
        raise UnreadableExample("holds nothing but silence: every sample is the same")
    notes = []
    if is_short or num < promised * (1 - _SHORTFALL):
        notes.append("cut off: shorter than its header says")
    if file.channels > 1:
        notes.append("channels mixed into one")
    return Waveform(samples_FK, rate_hz, f"{file.format} {file.subtype}", tuple(notes))


def _is_short_wav(content: bytes) -> bool:
    """Whether a WAV file promises more bytes than there are, which libsndfile does not tell; programs that stream promise 2^32."""
    promised = int.from_bytes(content[4:8], "little") + 8
    return content[:4] == b"RIFF" and len(content) < promised < 2**32 - 2**16


def _blocks(file: "soundfile.SoundFile") -> Iterator[np.ndarray]:
    """The frames as far as they can be decoded: damage in the middle ends a recording, and loses nothing before it."""
    library: Any = sound_files()
    is_first = True
    while True:
        try:
            block_FK = file.read(FRAMES_AT_ONCE, dtype="float32", always_2d=True)
        except library.LibsndfileError:
            if is_first:
                raise
            return
        is_first = False
        if len(block_FK) == 0:
            return
        yield block_FK


def sound_files() -> Any:
    """The library that decodes.

    Raises:
        BadInput: It is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise BadInput(
            "sound needs the library `soundfile`, which is not installed: pip install 'acclimate[sound]'"
        ) from error
    return soundfile
