"""Pictures for `/predict`, and the service as a process of its own."""

import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.processes import LIMIT_S, Installation

CHIP_PX = 64


def make_pixels(*, side: int = CHIP_PX, seed: int = 1) -> NDArray[np.uint8]:
    """(side, side, 3): smooth enough that JPEG does not spoil it, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (side // 8 + 1, side // 8 + 1, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:side, :side]


def encode(pixels: "NDArray[np.uint8] | Image.Image", kind: str = "JPEG", **options: object) -> bytes:
    """As the bytes of an image file."""
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Service:
    """`swath serve` under way."""

    process: "subprocess.Popen[str]"
    client: httpx.Client
    started: dict[str, Any]  #: what --json printed

    def predict(self, body: bytes, kind: str = "image/jpeg") -> httpx.Response:
        return self.client.post("/predict", content=body, headers={"Content-Type": kind})

    def end(self) -> tuple[int, str]:
        """Wait for it; its exit code and its log."""
        _, log = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, log


@contextmanager
def serving(installation: Installation, model: object, *words: object, **environment: str) -> Iterator[Service]:
    """`swath serve --model MODEL` on a free port, until the block ends."""
    settings = {
        "SWATH_BACKEND": "onnxruntime",
        "SWATH_API_LINGER_S": "0",
        "SWATH_API_POLL_S": "0.1",
        "SWATH_API_ACCESS_LOG": "false",  # nobody reads it before the end, and a full pipe would hold the service up
        **environment,
    }
    options = ("serve", "--json", "--port", 0, "--model", model, *words)
    process = installation.start("services.cli", *options, **settings)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(process.communicate(timeout=LIMIT_S)[1])
    started = json.loads(line)
    with httpx.Client(base_url=started["url"], timeout=60) as client:
        yield Service(process, client, started)
    installation.end()
