"""Sections that the flows read: release, schedule, arrival and clean."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.config.sections.section import Count, Section


class ReleaseParams(Section):
    """Which verdicts may enter service without a person."""

    auto_promote: tuple[Literal["promote", "provisional"], ...]
    """Verdicts that the scheduled and arrival flows promote by themselves; empty: none."""
    record: Literal["none", "commit"]
    """``commit``: after a run, settings, verdicts, pointers and dvc.lock are committed to the workspace's git, so that a clone
    restores it. ``none``: answers and ledgers alone, which nothing else brings back."""


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
    reconcile_s: Count
    """`acclimate up` looks at what is due when it starts, after each run, and every so many seconds."""
    min_images: Count
    """Fewer waiting images than this are kept for the next run. A target that is new waits for ``validate.min_rows_target``."""
    settle_s: Annotated[float, Field(ge=0)]
    """A batch without the file ``_READY`` is taken in when two looks this many seconds apart find it unchanged."""


class CleanParams(Section):
    """The policy of `acclimate clean`: how much it leaves in a workspace."""

    keep_versions: Annotated[int, Field(ge=1)]
    """So many of the newest versions of a target keep their bytes, beside all that were ever in service or withdrawn."""
    keep_days: Annotated[int, Field(ge=1)]
    """Leftovers, commits whose data and results DVC's cache still has, and Prefect's runs go once they are older."""
