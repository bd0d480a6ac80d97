"""What this process may take of its machine: a container's limits are not in the counts of cores and memory."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores this process may run on, or fewer where its control group (v2) has less time than that; 1 at least.

    https://docs.kernel.org/admin-guide/cgroup-v2.html: `cpu.max` is `QUOTA PERIOD` in microseconds, or `max PERIOD`.
    """
    cores: float = len(os.sched_getaffinity(0))
    for text in _limits("cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max":
            cores = min(cores, int(quota) / int(period or 100_000))
    return max(1, math.ceil(cores))


def memory_limit_bytes() -> int | None:
    """Beyond this many bytes the kernel kills this process's control group (v2); None: there is no such limit."""
    return min((int(text) for text in _limits("memory.max") if text != "max"), default=None)


def _limits(name: str) -> Iterator[str]:
    """What this process's control group and those around it say, as far as they can be seen from here."""
    try:
        line = next(line for line in _OWN_CGROUP.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):  # no control groups, or only those of version 1
        return
    group = _CGROUPS / line.removeprefix("0::/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(_CGROUPS):
            try:
                yield (folder / name).read_text().strip()
            except OSError:  # the root has none
                continue
