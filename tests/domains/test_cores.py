"""Cores by affinity and by the quota of a container, in files as the system writes them."""

import os
from pathlib import Path

import pytest

from tasks.domains.cores import usable_cores

AFFINITY = len(os.sched_getaffinity(0))


def system(folder: Path, membership: str, **files: str) -> tuple[Path, Path]:
    """A control group tree with ``files`` by path, ``__`` for a slash and ``_of_`` for a dot."""
    root = folder / "cgroup"
    root.mkdir()
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_of_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "membership").write_text(membership)
    return root, folder / "membership"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        pytest.param("0::/\n", {"cpu_of_max": "50000 100000\n"}, 1, id="v2-half-a-core"),
        pytest.param("0::/\n", {"cpu_of_max": "max 100000\n"}, AFFINITY, id="v2-without-a-bound"),
        pytest.param("0::/a/b\n", {"a__cpu_of_max": "100000 100000\n"}, 1, id="v2-a-group-above"),
        pytest.param(
            "4:cpu,cpuacct:/docker/x\n",
            {"cpu__cpu_of_cfs_quota_us": "100000\n", "cpu__cpu_of_cfs_period_us": "100000\n"},
            1,
            id="v1-in-a-container",
        ),
        pytest.param(
            "4:cpu:/a\n",
            {"cpu__a__cpu_of_cfs_quota_us": "-1\n", "cpu__a__cpu_of_cfs_period_us": "100000\n"},
            AFFINITY,
            id="v1-without-a-bound",
        ),
        pytest.param("0::/\n", {"cpu_of_max": "99900000 100000\n"}, AFFINITY, id="more-than-there-are"),
        pytest.param("nonsense", {"cpu_of_max": "so many"}, AFFINITY, id="not-to-be-understood"),
        pytest.param("", {}, AFFINITY, id="nothing"),
    ],
)
def test_the_smallest_bound_holds(tmp_path, membership, files, expected):
    assert usable_cores(*system(tmp_path, membership, **files)) == expected


def test_affinity_is_a_bound(tmp_path):
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores(*system(tmp_path, "")) == 1
    finally:
        os.sched_setaffinity(0, allowed)
