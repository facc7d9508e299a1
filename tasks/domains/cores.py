"""How many processor cores this process may use, which is often fewer than the machine has."""

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int:
    """Cores by affinity, and by the quota of the control groups (v1 and v2) that containers have; 1 or more."""
    try:
        by_affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # no Linux
        by_affinity = os.cpu_count() or 1
    quotas = [quota for folder in _folders(cgroups, membership) if (quota := _quota(folder)) is not None]
    return max(1, min([by_affinity, *(math.ceil(quota) for quota in quotas)]))


def _folders(cgroups: Path, membership: Path) -> list[Path]:
    """The folders of this process's control groups and of those above them, whose quotas hold as well."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    folders = [cgroups, cgroups / "cpu"]
    for line in lines:
        _, _, membership_line = line.partition(":")
        controllers, _, path = membership_line.partition(":")
        if controllers in ("", "cpu", "cpu,cpuacct", "cpuacct,cpu"):
            for root in (cgroups, cgroups / controllers):
                own = root / path.lstrip("/")
                folders += [own, *(above for above in own.parents if above.is_relative_to(root))]
    return folders


def _quota(folder: Path) -> float | None:
    """Cores that the group in ``folder`` may use on average; None without a bound."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
        return None if quota.strip() == "max" or float(quota) <= 0 else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
