"""Which kind of example a workspace or a model is about: the one place without torch where it is chosen."""

from collections.abc import Mapping

from tasks.config.sections.kind import KindParams
from tasks.domains.contract import InputSpec, Kind, Limits, Reader, spec_from_json
from tasks.errors import BadInput

SPEC_KEY = "input"
"""Where an ONNX file's metadata holds its input spec."""

BEFORE_KINDS = "preprocessing"
"""Where older files, which all take images, hold the text that a spec is made from."""


def kind_named(name: str) -> Kind:
    """The kind that ``name`` stands for in params.yaml and in an ONNX file; its libraries load here.

    Raises:
        BadInput: There is no such kind.
    """
    match name:
        case "image":
            from tasks.domains.image.reader import Images

            return Images
        case _:
            raise BadInput(
                f"kind {name!r} is unknown to this version of acclimate, which knows: image."
                " Correct `kind` in params.yaml, or install the version that exported the model."
            )


def reader_of(params: KindParams) -> Reader:
    """The reader of the examples of a workspace.

    Raises:
        BadInput: ``params.kind`` is no kind.
    """
    return kind_named(params.kind).of_params(params)


def reader_for(spec: InputSpec, limits: Limits) -> Reader:
    """The reader of examples for an exported model.

    Args:
        spec: The input of the model.
        limits: Limits of the workspace that asks, as `Reader.limits`.

    Raises:
        BadInput: This version of acclimate has no such kind, or prepares its examples by another rule.
    """
    return kind_named(spec.kind).of_spec(spec, limits)


def spec_in(metadata: Mapping[str, str], *, origin: str) -> InputSpec | None:
    """The input spec in the metadata of an ONNX file, those of older versions included; None if there is none.

    Raises:
        BadInput: It is malformed; the message names ``origin``.
    """
    if SPEC_KEY in metadata:
        return spec_from_json(metadata[SPEC_KEY], origin=f"{origin}: metadata `{SPEC_KEY}`")
    if BEFORE_KINDS in metadata:
        from tasks.domains.image.spec import spec_before_kinds

        return spec_before_kinds(metadata[BEFORE_KINDS], origin=f"{origin}: metadata `{BEFORE_KINDS}`")
    return None
