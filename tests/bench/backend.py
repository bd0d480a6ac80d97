"""Child: which backend a package gets here."""

import os
from pathlib import Path

from tests.bench.process import answer, told


def main() -> None:
    from services.core.model.backends import open_backend
    from services.core.model.package import load_package

    package = load_package(Path(told()["model"]))
    answer(backend=open_backend(package, threads=len(os.sched_getaffinity(0))).id)


if __name__ == "__main__":
    main()
