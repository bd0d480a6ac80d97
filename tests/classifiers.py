"""A classifier of colours, its images, and the files its owner would bring; made by hand, so its mistakes are known."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

COLOURS = {"Blue": (20, 30, 200), "Green": (30, 200, 40), "Red": (210, 20, 30)}

MODULE = '''
from torch import nn


class Colours(nn.Module):
    """The class of the strongest band."""

    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(3, classes)

    def forward(self, x):
        return self.head(x.mean(dim=(2, 3)))
'''

CONTRACT = """
answers = "logits"
description = "Names the colour of an image."
architecture = "One linear layer"
license = "MIT"
arguments = { classes = 3 }

[contract]
name = "colours"
kind = "classification"
bands = ["red", "green", "blue"]
units = "dn"
dtypes = ["uint8"]
mean = [100.0, 100.0, 100.0]
std = [50.0, 50.0, 50.0]
chip_px = 16
stride_px = 16
classes = [
    { value = 0, name = "Blue", color = "#1e1ec8" },
    { value = 1, name = "Green", color = "#1ec828" },
    { value = 2, name = "Red", color = "#d2141e" },
]
"""

#: Which band decides for Blue, Green and Red.
RIGHT, GREEN_IS_LOST = (2, 1, 0), (2, 0, 0)


def write_owner_files(folder: Path, *, bands: Sequence[int] = RIGHT, contract: str = CONTRACT) -> Path:
    """`net.py`, `weights.safetensors` and `contract.toml`."""
    folder.mkdir(parents=True, exist_ok=True)
    weight = torch.zeros(3, 3)
    for value, band in enumerate(bands):
        weight[value, band] = 2.0 + 0.1 * value  # where two rows look at one band, the higher class wins
    save_file({"head.weight": weight, "head.bias": torch.zeros(3)}, folder / "weights.safetensors")
    (folder / "net.py").write_text(MODULE)
    (folder / "contract.toml").write_text(contract)
    return folder


def image_bytes(colour: Sequence[int], *, seed: int = 0, px: int = 16, kind: str = "PNG") -> bytes:
    """Noise around one colour."""
    noise = np.random.default_rng(seed).integers(-15, 16, (px, px, 3))
    body = io.BytesIO()
    Image.fromarray(np.clip(noise + np.array(colour), 0, 255).astype(np.uint8)).save(body, kind)
    return body.getvalue()


def image_files(per_class: int = 4) -> dict[str, bytes]:
    """`<Class>/<Class>_<n>.png` -> content."""
    return {
        f"{name}/{name}_{number}.png": image_bytes(colour, seed=number)
        for name, colour in COLOURS.items()
        for number in range(per_class)
    }


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, body in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(body)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return path
