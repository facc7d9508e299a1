"""Sections that say how examples are read, split and checked."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasks.config.sections.section import Count, Fraction, Positive, Section


class ImagesParams(Section):
    """Settings that every reader of image files must agree on, in training and in service."""

    size_px: Annotated[int, Field(ge=8, le=1024)]
    """Side of the square every image is resized to, in pixels (bilinear with antialiasing, aspect not kept)."""
    max_pixels: Count
    """Images with more pixels than this are quarantined unread: a small file can claim 10^10 of them."""
    grey_range: tuple[float, float] | None
    """Values of grey of more than 8 bits that become black and white, in training and in service; null: what each file declares."""
    orientation_matters: bool
    """Whether turning an image can change its class, as of digits, letters and arrows: rotation prediction is then refused."""

    @field_validator("grey_range")
    @classmethod
    def _black_is_below_white(cls, grey_range: tuple[float, float] | None) -> tuple[float, float] | None:
        if grey_range is not None and grey_range[0] >= grey_range[1]:
            raise ValueError(
                f"the first value becomes black and must be below the second, got {list(grey_range)}"
            )
        return grey_range


class TextsParams(Section):
    """Settings that every reader of texts must agree on, in training and in service."""

    tokens: Annotated[int, Field(ge=8, le=512)] | None
    """Tokens of the backbone's vocabulary that are read of a text; what follows is cut off. Twice as many take twice as long.
    ``null``: the next run takes the length that holds nine of ten texts of the source, 64 to 256, and writes it here."""
    max_bytes: Count
    """Longer texts are quarantined unread."""
    column: Annotated[str, Field(min_length=1)]
    """The column of a .csv, .jsonl or .parquet file that holds the texts."""
    label: Annotated[str, Field(min_length=1)]
    """The column that holds their classes, where they are not told by folders; it need not be there."""


class SoundsParams(Section):
    """Settings that every reader of sounds must agree on, in training and in service."""

    rate_hz: Annotated[int, Field(ge=100, le=384_000)]
    """Samples per second that every recording is brought to; whisper-tiny hears 16,000."""
    seconds: Annotated[float, Field(gt=0, le=60)] | None
    """Length that the model hears: the loudest part of a longer recording. ``null``: the next run takes the length that holds nearly
    all recordings of the source, up to ten seconds, and writes it here."""
    max_seconds: Annotated[int, Field(ge=1, le=3600)]
    """Longer recordings are quarantined unread."""


class ByPattern(Section):
    """Groups by what the paths of their files have in common."""

    pattern: str
    """A regular expression, searched in the POSIX path below the domain's folder; its capturing groups, or else the
    whole match, name the group."""


class ByGap(Section):
    """Groups by when their files were captured."""

    gap_s: Positive
    """Seconds without a capture in a folder after which the next one starts a new group."""


class ByColumn(Section):
    """Groups by what the rows of a file hold in one of its columns."""

    column: Annotated[str, Field(min_length=1)]
    """Its name, such as that of a person, a machine or a day."""


def _known_form(value: Any) -> Any:
    """``value``, refused in one line instead of one per form that it might have had."""
    match value:
        case None | "folder" | "near_duplicates" | ByPattern() | ByGap() | ByColumn():
            return value
        case {"column": str(column), **others} if column and not others:
            return value
        case {"pattern": str(pattern), **others} if pattern and not others:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"pattern {pattern!r} is no regular expression ({error}). Correct it; in YAML, put it in single quotes"
                ) from error
            return value
        case {"gap_s": int(gap_s) | float(gap_s), **others} if (
            not others and gap_s is not True and 0 < gap_s < math.inf
        ):
            return value
        case _:
            raise ValueError(
                "must be null, folder, near_duplicates, {pattern: '<regular expression>'},"
                f" {{gap_s: <seconds, more than 0>}} or {{column: <name>}}, got {value!r}"
            )


WayInManifest = Literal["folder", "near_duplicates"] | ByPattern | ByGap
"""How examples are put into groups by what the manifest says of them."""

WayToGroup = WayInManifest | ByColumn
"""How the examples of a domain are put into groups."""


class SplitParams(Section):
    """Shares of a domain, decided by each image's content hash and never by position."""

    source_validation: Fraction
    """Share of the source kept for validation, never trained on."""
    target_adapt: Fraction
    """Share of a target that the adaptation losses see."""
    target_select: Fraction
    """Share of a target that label-free scores see; the rest is the hold-out where labels exist."""
    group_by: Annotated[WayToGroup | None, BeforeValidator(_known_form)]
    """Which examples are frames of one scene and so stay in one split. ``null``: none. ``folder``: those of one folder below
    the class folder. ``{pattern: ...}``: those whose paths match alike. ``{gap_s: ...}``: those captured one after another.
    ``near_duplicates``: those that look alike, directly or through others. ``{column: ...}``: rows with one value in a column
    that no model reads."""

    @model_validator(mode="after")
    def _leaves_a_test_split(self) -> "SplitParams":
        if self.target_adapt + self.target_select > 1:
            raise ValueError(
                f"target_adapt {self.target_adapt} + target_select {self.target_select} is more than 1"
            )
        return self


class ValidateParams(Section):
    """Bounds that the reviewed suites in tasks/checks/suites/ refer to by name."""

    min_rows_source: Count
    """Fewest usable source images (critical)."""
    min_rows_target: Count
    """Fewest usable target images (critical)."""
    min_rows_per_class: Count
    """Fewest usable source images of any class (critical)."""
    max_class_ratio: Positive
    """Largest over smallest class of the source (warning above it)."""
    min_side_px: Count
    """Images with a shorter side below this are reported (warning)."""
    max_quarantine_fraction: Fraction
    """Share of a domain's files that may be unusable (critical above it); exact copies and hidden files are no fault."""

    @property
    def min_usable_fraction(self) -> float:
        """The share that ``max_quarantine_fraction`` leaves; rounded, so that 1 - 0.1 is 0.9."""
        return round(1 - self.max_quarantine_fraction, 12)
