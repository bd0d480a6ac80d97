"""`check_loads.py FOLDER`: whether every shared library under it can still be loaded, after it was stripped."""

import ctypes
import sys
from pathlib import Path


def find_broken(folder: Path) -> list[str]:
    """What the loader says of each library that it refuses."""
    broken = []
    for path in sorted(folder.rglob("*.so*")):
        try:
            ctypes.CDLL(str(path))
        except OSError as exc:
            broken.append(str(exc))
    return broken


if __name__ == "__main__":
    said = find_broken(Path(sys.argv[1]))
    sys.exit("\n".join(said) if said else 0)
