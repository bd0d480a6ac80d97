"""Containers through the `docker` command, as a user runs them, and what a right answer of the service is."""

import io
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.core.model.backends import Library, open_backend
from services.core.model.package import ModelPackage
from tests.served import encode, make_pixels

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120
BUILD_LIMIT_S = 1800
PORT = "8000/tcp"

#: What a strict cluster takes away. What is written goes to the volume of SWATH_HOME, which Docker makes by itself.
HARDENED = (
    "--read-only", "--tmpfs", "/tmp", "--user", "65532:65532", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges",
)  # fmt: skip
QUARTER = ("--cpus", "0.25", "--memory", "512m")
ANYBODY = {"SWATH_API_AUTH": "none", "SWATH_API_ANONYMOUS": "true"}


class ContainerError(Exception):
    """The docker command failed, or a container did not come to what it was started for."""


def docker_available() -> bool:
    """Whether there is an engine that answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def docker(*words: str, limit_s: float = LIMIT_S) -> str:
    """`docker WORDS`; what it printed, without the last line's end.

    Raises:
        ContainerError: It failed; with the end of what it said.
    """
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=limit_s, check=False)
    if done.returncode != 0:
        raise ContainerError(f"docker {' '.join(words[:3])} failed: {done.stderr[-2000:]}")
    return done.stdout.removesuffix("\n")


def build_api(tag: str) -> str:
    """The tag, built as `make image` does."""
    command = ["make", "-s", "image", f"IMAGE={tag}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False)
    if done.returncode != 0:
        raise ContainerError(f"make image failed: {(done.stdout + done.stderr)[-4000:]}")
    return tag


def inspect_image(tag: str) -> dict[str, Any]:
    """What the engine knows of an image."""
    return dict(json.loads(docker("image", "inspect", tag))[0])


@dataclass(frozen=True, slots=True)
class Container:
    """One under way, and a client of its service."""

    id: str
    client: httpx.Client

    def run(self, *words: str) -> str:
        """A command inside, to its end."""
        return docker("exec", self.id, *words)

    def predict(self, body: bytes, kind: str = "image/jpeg", **headers: str) -> httpx.Response:
        """One image."""
        return self.client.post("/predict", content=body, headers={"Content-Type": kind, **headers})

    def wait(self) -> None:
        """Until it takes requests."""
        self._until("/health/live", lambda: self.client.get("/health/live"))

    def first_answer(self, body: bytes) -> httpx.Response:
        """Ask until it answers."""
        return self._until("/predict", lambda: self.predict(body))

    def status(self) -> dict[str, str]:
        """`/proc/1/status`."""
        lines = self.run("cat", "/proc/1/status").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def cpu_s(self) -> float:
        """Processor time of the service so far, in both modes; the fields follow the name, which may hold blanks."""
        fields = self.run("cat", "/proc/1/stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100  # ticks: 100 a second on Linux

    def log(self) -> str:
        """What it said so far; our log goes to stderr."""
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True, timeout=LIMIT_S, check=True)
        return done.stdout + done.stderr

    def _until(self, what: str, ask: Callable[[], httpx.Response]) -> httpx.Response:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            try:
                return ask()
            except httpx.TransportError:
                time.sleep(0.01)
            if docker("inspect", "-f", "{{.State.Running}}", self.id) != "true":
                break
        raise ContainerError(f"{what} did not answer: {self.log()[-2000:]}")


@contextmanager
def running(
    tag: str, *options: str, package: ModelPackage | None = None, settings: Mapping[str, str] = ANYBODY
) -> Iterator[Container]:
    """The image with its own command; gone, with its volume, at the end.

    Args:
        tag: The image.
        options: More words of `docker run`.
        package: Served in place of the image's own model; mounted, read-only.
        settings: `SWATH_*`.
    """
    words = ["run", "-d", "-p", "127.0.0.1::8000", *HARDENED, *options]
    if package is not None:
        words += ["-v", f"{package.root}:/model:ro", "-e", "SWATH_API_MODEL=/model"]
    for name, value in settings.items():
        words += ["-e", f"{name}={value}"]
    name = docker(*words, tag)
    try:
        address = docker("port", name, PORT).splitlines()[0]
        with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
            yield Container(name, client)
    finally:
        docker("rm", "-f", "-v", name)


@dataclass(frozen=True, slots=True)
class Question:
    """An image, and what the network says of it outside."""

    body: bytes  #: JPEG
    pixels: NDArray[np.uint8]  #: (H, W, 3), as decoded
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]  #: (K,)

    def is_answered_by(self, response: httpx.Response) -> bool:
        """Whether this is the class, and these are the probabilities, to what two libraries differ by."""
        if response.status_code != 200:
            return False
        answer = response.json()
        told = np.array([answer["probabilities"][name] for name in self.classes], np.float32)
        best = self.classes[int(self.probabilities.argmax())]
        return answer["class"] == best and bool(np.allclose(told, self.probabilities, atol=2e-3))


def make_questions(package: ModelPackage, *, library: Library = "torch", count: int = 8) -> list[Question]:
    """Different images of the model's own size.

    Args:
        package: A classifier of 8-bit pictures.
        library: What answers outside. PyTorch is the reference in fp32; the image's own library where the package
            holds an int8 graph, which both then take.
        count: How many.
    """
    contract = package.contract
    reference = open_backend(package, name=library)
    names = tuple(one.name for one in contract.classes)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (contract.mean, contract.std))
    questions = []
    for seed in range(count):
        body = encode(make_pixels(side=contract.chip_px, seed=seed))
        pixels = np.asarray(Image.open(io.BytesIO(body)))
        chip = (pixels.transpose(2, 0, 1).astype(np.float32) - mean) / std  # (H, W, 3) -> (3, H, W)
        questions.append(Question(body, pixels, names, reference.predict(chip[None])[0]))
    return questions
