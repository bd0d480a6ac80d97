"""Which code made a pixel: the package's version, and the git revision where there is one."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_version() -> str:
    """E.g. `0.1.0+g1a2b3c4d5e6f`, with `.dirty` where files differ from that revision."""
    try:
        release = version("swath")
    except PackageNotFoundError:
        release = "0"
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return release
    try:
        described = subprocess.run(  # noqa: S603  # fixed words, no shell
            ["git", "-C", str(root), "describe", "--always", "--dirty=.dirty", "--exclude=*", "--abbrev=12"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return release
    return f"{release}+g{described.stdout.strip()}"
