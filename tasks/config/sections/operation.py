"""Sections that the flows read: release, schedule, arrival and clean."""

from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Literal
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from tasks.config.sections.section import Count, Section

ALIASES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *",
}  # fmt: skip
NUM_CRON_FIELDS = 5


class ReleaseParams(Section):
    """Which verdicts may enter service without a person."""

    auto_promote: tuple[Literal["promote", "provisional"], ...]
    """Verdicts that the scheduled and arrival flows promote by themselves; empty: none."""
    record: Literal["none", "commit"]
    """``commit``: after a run, settings, verdicts, pointers and dvc.lock are committed to the workspace's git, so that a clone
    restores it. ``none``: answers and ledgers alone, which nothing else brings back."""


class ScheduleParams(Section):
    """When retraining runs."""

    cron: str
    """Five fields, or one of @hourly, @daily, @weekly, @monthly and @yearly, in the time zone below."""
    timezone: str
    """IANA name."""

    @field_validator("cron")
    @classmethod
    def _comes_round(cls, cron: str) -> str:
        fields = ALIASES.get(cron, cron)
        try:
            if len(fields.split()) != NUM_CRON_FIELDS:
                raise CronSimError(f"{len(fields.split())} fields")
            CronSim(fields, datetime(2000, 1, 1))
        except CronSimError as error:
            reason = str(error)
            raise ValueError(
                f"{cron!r} is no time that comes round ({reason[:1].lower()}{reason[1:]}): write minute, hour, day of month,"
                f" month and day of week, such as '0 3 * * 1' for Mondays at 3:00, or one of {', '.join(ALIASES)}"
            ) from error
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, timezone: str) -> str:
        known = available_timezones()
        if timezone not in known:
            alike = get_close_matches(timezone, known, n=1)
            hint = (
                f"did you mean {alike[0]}?" if alike else "write an IANA name, such as Europe/Berlin or UTC"
            )
            raise ValueError(f"no time zone is called {timezone!r}: {hint}")
        return timezone


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
