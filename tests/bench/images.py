"""One 64 px JPEG as EuroSAT's are, and the same as a form."""

from pathlib import Path

import numpy as np
from PIL import Image

_BOUNDARY = "swath-bench"


def write_jpeg(path: Path) -> Path:
    """Smooth noise, so that it has the size of a real one: about 3 kB."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(60, 160, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(path, "JPEG", quality=95)
    return path


def write_images(folder: Path, *, count: int) -> Path:
    """Noise in EuroSAT's layout: a folder with ten classes."""
    rng = np.random.default_rng(7)
    for index in range(count):
        path = folder / f"Class{index % 10}" / f"Class{index % 10}_{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(60, 160, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
    return folder


def write_form(path: Path) -> tuple[Path, str]:
    """The body and its Content-Type; the field is `file`."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n'
    image = write_jpeg(path.with_suffix(".jpg")).read_bytes()
    path.write_bytes(f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode())
    return path, f"multipart/form-data; boundary={_BOUNDARY}"
