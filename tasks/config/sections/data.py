"""Sections that say how images are read, split and checked."""

from typing import Annotated

from pydantic import Field, model_validator

from tasks.config.sections.section import Count, Fraction, Positive, Section


class ImagesParams(Section):
    """Settings that every reader of image files must agree on, in training and in service."""

    size_px: Annotated[int, Field(ge=8, le=1024)]
    """Side of the square every image is resized to, in pixels (bilinear with antialiasing, aspect not kept)."""
    max_pixels: Count
    """Images with more pixels than this are quarantined unread: a small file can claim 10^10 of them."""
    orientation_matters: bool
    """Whether turning an image can change its class, as of digits, letters and arrows: rotation prediction is then refused."""


class SplitParams(Section):
    """Shares of a domain, decided by each image's content hash and never by position."""

    source_validation: Fraction
    """Share of the source kept for validation, never trained on."""
    target_adapt: Fraction
    """Share of a target that the adaptation losses see."""
    target_select: Fraction
    """Share of a target that label-free scores see; the rest is the hold-out where labels exist."""

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
