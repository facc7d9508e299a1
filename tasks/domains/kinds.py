"""Which kind of example a workspace or a model is about: the one place without torch where it is chosen."""

import base64
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tasks.config.params import Params
from tasks.config.sections.kind import KindParams
from tasks.domains.contract import InputSpec, Kind, Limits, Reader, UnreadableExample, spec_from_json
from tasks.domains.rows import has_rows, holds_sentences, read_rows
from tasks.errors import BadInput

SPEC_KEY = "input"
"""Where an ONNX file's metadata holds its input spec."""

PART_KEY = f"{SPEC_KEY}/"
"""How the keys begin that hold the parts of a spec: zlib, in base64."""

BEFORE_KINDS = "preprocessing"
"""Where older files, which all take images, hold the text that a spec is made from."""


KINDS = ("image", "text", "sound", "table")

IN_ROWS = frozenset({"text", "table"})
"""The kinds of which each row of a file is an example, for who only counts and needs no reader."""


def kind_named(name: str) -> Kind:
    """The kind that ``name`` stands for in params.yaml and in an ONNX file; its libraries load here.

    Raises:
        BadInput: There is no such kind.
    """
    match name:
        case "image":
            from tasks.domains.image.reader import Images

            return Images
        case "text":
            from tasks.domains.text.reader import Texts

            return Texts
        case "sound":
            from tasks.domains.sound.reader import Sounds

            return Sounds
        case "table":
            from tasks.domains.table.reader import Rows

            return Rows
        case _:
            raise BadInput(
                f"kind {name!r} is unknown to this version of acclimate, which knows: {', '.join(KINDS)}."
                " Correct `kind` in params.yaml, or install the version that exported the model."
            )


_TEXTS = frozenset({".txt", ".text", ".md"})
_SOUNDS = frozenset(
    {
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".au",
        ".caf",
        ".w64",
        ".m4a",
        ".aac",
        ".wma",
    }
)


def kind_in(folder: Path, paths: Sequence[str]) -> str:
    """The kind that most of the files ``paths`` in ``folder`` tell: by their names, and files of rows by what is in the first.

    A file of rows holds texts if a column is called ``text``, or if one holds sentences.
    """
    forms = Counter(_form_of(path) for path in paths)
    form = max(sorted(forms), key=lambda one: forms[one], default="image")
    if form != "rows":
        return form
    first = min(path for path in paths if has_rows(path))
    try:
        return "text" if holds_sentences(read_rows(folder / first)) else "table"
    except UnreadableExample:
        return "table"


def _form_of(path: str) -> str:
    if has_rows(path):
        return "rows"
    suffix = PurePosixPath(path).suffix.lower()
    return "text" if suffix in _TEXTS else "sound" if suffix in _SOUNDS else "image"


def kind_of(params: KindParams) -> Kind:
    """The kind of the examples of a workspace.

    Raises:
        BadInput: ``params.kind`` is no kind.
    """
    return kind_named(params.kind)


def reader_of(params: Params) -> Reader:
    """The reader of the examples of a workspace.

    Raises:
        BadInput: ``params.kind`` is no kind.
    """
    return kind_of(params).of_params(params)


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
        spec = spec_from_json(metadata[SPEC_KEY], origin=f"{origin}: metadata `{SPEC_KEY}`")
        return replace(spec, parts=_parts_in(metadata, origin))
    if BEFORE_KINDS in metadata:
        from tasks.domains.image.spec import spec_before_kinds

        return spec_before_kinds(metadata[BEFORE_KINDS], origin=f"{origin}: metadata `{BEFORE_KINDS}`")
    return None


def metadata_of(spec: InputSpec) -> dict[str, str]:
    """The input of a model in the metadata of its ONNX file; :func:`spec_in` reads it."""
    parts = {
        f"{PART_KEY}{name}": base64.b64encode(zlib.compress(content, 9)).decode()
        for name, content in spec.parts.items()
    }
    return {SPEC_KEY: spec.to_json(), **parts}


def _parts_in(metadata: Mapping[str, str], origin: str) -> dict[str, bytes]:
    parts = {}
    for key, text in metadata.items():
        if key.startswith(PART_KEY):
            try:
                parts[key.removeprefix(PART_KEY)] = zlib.decompress(base64.b64decode(text))
            except (ValueError, zlib.error) as error:
                raise BadInput(
                    f"{origin}: metadata `{key}` is damaged ({error}). Export it again."
                ) from error
    return parts
