"""A package that goes away again: what a training has made, to be judged before it is put anywhere."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.core.model.package import ModelPackage
from services.core.model.package_save import save_package


@contextmanager
def drafted(files: Mapping[str, bytes]) -> Iterator[ModelPackage]:
    """The files, and a card that says so, as a package in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="swath-training-") as folder:
        yield save_package(Path(folder) / "draft", {**files, "card.md": b"A draft, to be judged."})
