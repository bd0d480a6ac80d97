"""The machine in words: figures mean nothing without it."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

#: What decides how fast a network is; more would be noise.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_LIBRARIES = ("numpy", "rasterio", "openvino", "onnxruntime", "torch")


def describe_machine(folder: Path) -> list[str]:
    """Sentences: processor, memory, disk under `folder`, versions, date and load."""
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    busy = "" if load < 0.5 else " **Not a quiet machine: the ratios below are worth less than usual.**"
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return [
        f"{_processor()}; {cores} cores; {_flags()}.",
        f"{memory:.0f} GiB of memory. {_disk(folder)}.",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {libraries}, GDAL {_gdal()}.",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {load:.2f} at the start.{busy}",
    ]


def _cpuinfo(name: str) -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _processor() -> str:
    return f"{_cpuinfo('model name')} (family {_cpuinfo('cpu family')}, model {_cpuinfo('model')})"


def _flags() -> str:
    has = set(_cpuinfo("flags").split())
    there = [flag for flag in _FLAGS if flag in has]
    lacks = [flag for flag in _FLAGS if flag not in has]
    return f"has {', '.join(there) or 'none'}, lacks {', '.join(lacks) or 'none'} of what networks like"


def _disk(folder: Path) -> str:
    """File system and kind of the device, in words."""
    mounts = sorted(psutil.disk_partitions(all=True), key=lambda part: len(part.mountpoint), reverse=True)
    mount = next((part for part in mounts if folder.resolve().is_relative_to(part.mountpoint)), None)
    if mount is None:
        return "Disk unknown"
    name = Path(mount.device).name
    if name.startswith("vd"):
        return f"A virtual disk ({name}, {mount.fstype}); scenes are read warm, from the page cache"
    spins = Path(f"/sys/class/block/{name}/queue/rotational")
    kind = "of unknown kind" if not spins.is_file() else "spinning" if spins.read_text().strip() == "1" else "solid"
    return f"Disk {name}, {kind}, {mount.fstype}; scenes are read warm, from the page cache"


def _gdal() -> str:
    import rasterio

    return str(rasterio.__gdal_version__)
