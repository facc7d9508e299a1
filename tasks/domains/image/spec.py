"""The input of a model of images: a square of RGB pixels, and the rule by which a picture becomes one."""

from tasks.domains.contract import InputSpec, differing_rules
from tasks.domains.image.grey import GreyRange
from tasks.errors import BadInput
from tasks.files import parse_json

KIND = "image"

RULE = {
    "resize": "stretch",
    "interpolation": "bilinear-antialias",
    "channels": "RGB",
    "alpha": "on white",
    "orientation": "exif",
}
"""How tasks/domains/image/ prepares every picture."""


GREY_RANGE = "grey_range"
"""The part of the rule that a workspace may set: the values of deep grey that become black and white."""


def image_spec(size_px: int, grey_range: GreyRange = None) -> InputSpec:
    """The spec of square images, ``size_px`` pixels on a side, channels last; of the range only where there is one."""
    rule = RULE if grey_range is None else {**RULE, GREY_RANGE: list(grey_range)}
    return InputSpec(KIND, "images", "uint8", (size_px, size_px, 3), rule)


def grey_range_of(spec: InputSpec) -> GreyRange:
    """The values of deep grey that become black and white; None for those that a file declares.

    Raises:
        BadInput: They are no two numbers.
    """
    match spec.rule.get(GREY_RANGE):
        case None:
            return None
        case [int() | float() as black, int() | float() as white] if black < white:
            return float(black), float(white)
        case other:
            raise BadInput(
                f"the model expects grey values in the range {other!r}, which is none: export it again."
            )


def size_px_of(spec: InputSpec) -> int:
    """The side in pixels of the images that ``spec`` asks for.

    Raises:
        BadInput: They would be prepared in another way than this version of acclimate does.
    """
    size_px = spec.shape[0]
    expected = image_spec(size_px)
    if (spec.dtype, spec.shape) != (expected.dtype, expected.shape):
        raise BadInput(f"the model takes {spec}, which are no square images: export it again.")
    unknown = sorted(spec.rule.keys() - RULE.keys() - {GREY_RANGE})
    if differing := differing_rules(spec, RULE | dict.fromkeys(unknown)):
        raise BadInput(
            f"the model expects images prepared in another way than this acclimate does ({differing}):"
            " its answers would be wrong. Export it again with this version."
        )
    return size_px


def spec_before_kinds(text: str, *, origin: str) -> InputSpec:
    """The spec of a model that was exported before there were kinds, from its metadata ``preprocessing``.

    Raises:
        BadInput: ``text`` does not say how large the images are.
    """
    try:
        rule = parse_json(text)
    except ValueError as error:
        raise BadInput(f"{origin} is not JSON ({error}), got {text!r}. Export it again.") from error
    size_px = rule.pop("size_px", None) if isinstance(rule, dict) else None
    if not isinstance(size_px, int) or size_px < 1:
        raise BadInput(f"{origin} must hold size_px, got {text!r}. Export it again.")
    square = image_spec(size_px)
    return InputSpec(square.kind, square.name, square.dtype, square.shape, rule)
