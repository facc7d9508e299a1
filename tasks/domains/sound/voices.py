"""The demo's sounds: ten words by nine voices in a studio, and by nine others over a telephone. All are synthetic.

The voices are those of eSpeak NG in the package espeakng-loader (0.2.4, GPL-3.0-or-later); the telephone is simulated. Real
recordings differ more; no registry that an offline machine reaches has enough of them.
"""

import ctypes
import multiprocessing
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from tasks.domains.sound.telephone import RATE_HZ, by_telephone

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
IN_STUDIO = (
    "en-us+m1",
    "en-us+m2",
    "en-us+m3",
    "en-us+m4",
    "en+f1",
    "en+f4",
    "en+Annie",
    "en+linda",
    "en+steph",
)
BY_TELEPHONE = (
    "en-us+m5",
    "en-us+m6",
    "en-us+m7",
    "en-us+m8",
    "en+Andrea",
    "en+anika",
    "en+aunty",
    "en+belinda",
    "en+grandma",
)
"""Voices without breath, which the synthesizer would draw anew each time."""
WORDS_PER_MINUTE = (130, 150, 170, 190, 210)

LIBRARY = "espeakng_loader/libespeak-ng.so"
SYNCHRONOUS, DO_NOT_EXIT, UTF8 = 2, 0x8000, 1
"""From speak_lib.h: samples come to a function, errors end no process, texts are UTF-8."""
RATE = 1
"""The parameter of speak_lib.h for the words per minute."""

Speak = Callable[[str, str, int], NDArray[np.float32]]
"""A word, by a voice, at so many words per minute."""


def write_voices(archive: Path, folder: Path) -> None:
    """Write the class folders studio/ and telephone/ into ``folder``, 450 WAV files each.

    In a process of its own: the synthesizer's noise goes on from word to word, so that only a fresh one says the same again.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as process:
        process.submit(_write_both, archive, folder).result()


def _write_both(archive: Path, folder: Path) -> None:
    with TemporaryDirectory() as unpacked:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(unpacked)
        speak, rate_hz = _speaker(Path(unpacked))
        for number, (word, voice, pace) in enumerate(product(WORDS, IN_STUDIO, WORDS_PER_MINUTE)):
            _write(folder / "studio" / word / f"{number:03d}.wav", speak(word, voice, pace), rate_hz)
        for number, (word, voice, pace) in enumerate(product(WORDS, BY_TELEPHONE, WORDS_PER_MINUTE)):
            arrived = by_telephone(speak(word, voice, pace), rate_hz, seed=number)
            _write(folder / "telephone" / word / f"{number:03d}.wav", arrived, RATE_HZ)


def _write(path: Path, samples: NDArray[np.float32], rate_hz: int) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, subtype="PCM_16")


def _speaker(unpacked: Path) -> tuple[Speak, int]:
    """A function that speaks, and its samples per second."""
    library = ctypes.CDLL(str(unpacked / LIBRARY))
    spoken: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def keep(samples, count: int, _events) -> int:
        if count > 0:
            spoken.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    rate_hz = library.espeak_Initialize(
        SYNCHRONOUS, 0, str((unpacked / LIBRARY).parent).encode(), DO_NOT_EXIT
    )
    library.espeak_SetSynthCallback(keep)

    def speak(word: str, voice: str, words_per_minute: int) -> NDArray[np.float32]:
        text = word.encode() + b"\0"
        spoken.clear()
        library.espeak_SetVoiceByName(voice.encode())
        library.espeak_SetParameter(RATE, words_per_minute, 0)
        library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, UTF8, None, keep)
        return np.concatenate(spoken).astype(np.float32) / np.float32(2**15)

    return speak, rate_hz
