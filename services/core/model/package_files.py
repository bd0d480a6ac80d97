"""Which files a model package may hold, how large they may be, and the digest over all of them."""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from services.core.errors import PackageError

#: Bytes allowed per file; what is not named here may not be in a package.
_LIMITS = {
    "model.json": 2**20,
    "card.md": 2**20,
    "metrics.json": 2**22,
    "statistics.json": 2**20,
    "LICENSE": 2**18,
    "weights.safetensors": 2**30,
    "model.onnx": 2**30,
    "model.int8.onnx": 2**30,
}
_FIGURE = re.compile(r"figures/[a-z0-9][a-z0-9._-]{0,62}\.(png|jpg)")
_FIGURE_LIMIT, _FIGURES = 2**22, 32


def list_files(root: Path) -> dict[str, int]:
    """Name -> size of every file, sorted; refuses links, strangers and giants before a byte is read.

    Raises:
        PackageError: One of these.
    """
    sizes: dict[str, int] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        state = path.lstat()
        if stat.S_ISDIR(state.st_mode) and name == "figures":
            continue
        limit = size_limit(name, root)
        if not stat.S_ISREG(state.st_mode):
            raise PackageError(f"{name} in model package {root.name} is not a plain file")
        if state.st_size > limit:
            raise PackageError(f"{name} in model package {root.name} has {state.st_size} bytes; {limit} are allowed")
        sizes[name] = state.st_size
    if len(sizes) > len(_LIMITS) + _FIGURES:
        raise PackageError(f"model package {root.name} has more than {_FIGURES} figures")
    return sizes


def size_limit(name: str, root: Path) -> int:
    """Bytes this file may have.

    Raises:
        PackageError: It may not be in a package at all.
    """
    limit = _LIMITS.get(name, _FIGURE_LIMIT if _FIGURE.fullmatch(name) else None)
    if limit is None:
        raise PackageError(
            f"{name} may not be in model package {root.name}: a package holds {', '.join(_LIMITS)} and figures/*.png, "
            "and never code or pickled weights"
        )
    return limit


def digest_files(files: Mapping[str, str], sizes: Mapping[str, int]) -> str:
    """The package's digest: sha256 over the sorted (name, sha256, size) of all files, as compact JSON."""
    table = [[name, files[name], sizes[name]] for name in sorted(files)]
    return hashlib.sha256(json.dumps(table, separators=(",", ":")).encode()).hexdigest()
