"""Sections that the flows read: release, schedule and arrival."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.config.sections.section import Count, Section


class ReleaseParams(Section):
    """Which verdicts may enter service without a person."""

    auto_promote: tuple[Literal["promote", "provisional"], ...]
    """Verdicts that the scheduled and arrival flows promote by themselves; empty: none."""
    record: Literal["none", "commit"]
    """``commit``: after a run, verdicts, pointers and dvc.lock are committed to the workspace's git."""


class ScheduleParams(Section):
    """When retraining runs."""

    cron: Annotated[str, Field(min_length=9)]
    """Five fields, in the time zone below."""
    timezone: str
    """IANA name."""


class ArrivalParams(Section):
    """How new target images are taken in."""

    debounce_s: Count
    """Events of one target within this many seconds make one run."""
    min_images: Count
    """Fewer waiting images than this are kept for the next run."""
