"""JPEGs of 64 px as EuroSAT's are, and the same as forms."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bench.scenes import data_folder

_BOUNDARY = "swath-bench"


def write_requests(folder: Path, *, count: int) -> None:
    """`0.jpg` and `0.form` and so on: real images, spread over the classes, where they are; else drawn ones.

    Many, and real ones, because a network is surer of some than of others, and looks again at those it is not sure of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    archive = eurosat_zip()
    if archive is None:
        drawn = sorted(write_images(folder / "drawn", count=count).rglob("*.jpg"))
        bodies = [path.read_bytes() for path in drawn]
    else:
        with zipfile.ZipFile(archive) as images:
            names = sorted(name for name in images.namelist() if name.endswith(".jpg"))
            bodies = [images.read(name) for name in names[:: len(names) // count][:count]]
    for index, body in enumerate(bodies):
        (folder / f"{index}.jpg").write_bytes(body)
        (folder / f"{index}.form").write_bytes(_form(body))


#: Content-Type of `write_requests`' files, by suffix.
KINDS = {"jpg": "image/jpeg", "form": f"multipart/form-data; boundary={_BOUNDARY}"}


def eurosat_zip() -> Path | None:
    """The real images, where they are."""
    archive = data_folder() / "eurosat" / "EuroSAT_RGB_train.zip"
    return archive if archive.is_file() else None


def write_images(folder: Path, *, count: int) -> Path:
    """Noise in EuroSAT's layout, a folder with ten classes: smooth, so that each has the size of a real one."""
    rng = np.random.default_rng(7)
    for index in range(count):
        path = folder / f"Class{index % 10}" / f"Class{index % 10}_{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(60, 160, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
    return folder


def _form(image: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()
