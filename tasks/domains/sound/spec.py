"""The input of a model of sounds: samples, and the rule by which a recording becomes them."""

from tasks.domains.contract import InputSpec, differing_rules
from tasks.domains.sound.fit import PADDING
from tasks.errors import BadInput

KIND = "sound"
NAME = "samples"

RULE = {
    "channels": "their mean",
    "offset": "taken out",
    "resampling": "soxr, HQ",
    "longer": "the loudest part, in steps of 10 ms",
    "shorter": "padded at the end",
    "louder than 1": "divided by the largest sample",
    "padding": PADDING,
}
"""How tasks/domains/sound/ prepares every recording; the spec adds the rate."""

ROUND_TO = 320
"""Lengths are multiples of this many samples, as front ends with strides want them."""


def sound_spec(rate_hz: int, seconds: float) -> InputSpec:
    """The spec of sounds of up to ``seconds``, at ``rate_hz`` samples per second."""
    num_samples = max(1, round(rate_hz * seconds / ROUND_TO)) * ROUND_TO
    return InputSpec(KIND, NAME, "float32", (num_samples,), RULE | {"rate_hz": rate_hz})


def rate_in(spec: InputSpec) -> int:
    """The samples per second of ``spec``.

    Raises:
        BadInput: It names none, or sounds would be prepared in another way than this version of acclimate does.
    """
    differing = differing_rules(spec, RULE)
    rate_hz = spec.rule.get("rate_hz")
    if (
        spec.dtype != "float32"
        or len(spec.shape) != 1
        or differing
        or not isinstance(rate_hz, int)
        or rate_hz < 1
    ):
        raise BadInput(
            f"the model takes {spec}, prepared in another way than this acclimate prepares sounds"
            f" ({differing or 'a row of float32 and a rate were expected'}): its answers would be wrong. Export it"
            " again with this version."
        )
    return rate_hz
