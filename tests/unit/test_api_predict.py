"""What images that are decoded beside the loop cost in memory, and what they leave of the loop."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.api.answer_json import AnswerTemplate
from services.api.aside import Aside
from services.api.batcher import Batcher, QueueLimits
from services.api.images import PictureRules
from services.api.metrics import Metrics
from services.api.predict import _answer
from services.api.problems import problem_of
from services.api.refusals import BusyError
from services.api.runtime import Served
from services.api.uploads import Upload
from services.core.errors import UnanswerableError
from services.core.model.backends import Backend
from services.core.model.batching import Chips, Probabilities
from services.core.model.package import ModelPackage
from tests.models import PICTURE_CLASSES, make_classifier
from tests.served import encode, make_pixels

LARGE = Upload(body=encode(make_pixels(side=320)), claim="image/jpeg")


class Closed:
    """A network that answers nothing before it is opened."""

    id = "closed:fp32"

    def __init__(self) -> None:
        self.open = threading.Event()

    def predict(self, chips: Chips) -> Probabilities:
        assert self.open.wait(60)
        return np.full((len(chips), len(PICTURE_CLASSES)), 1 / len(PICTURE_CLASSES), np.float32)


def serving(package: ModelPackage, network: Backend) -> Served:
    limits = QueueLimits(chips=256, wait_s=60)
    return Served(
        package=package,
        stage=None,
        backend=network,
        batcher=Batcher(network, package.contract, threads=1, limits=limits, metrics=Metrics()),
        pictures=PictureRules(package.contract),
        template=AnswerTemplate(package.contract, digest=package.digest, stage=None),
    )


@pytest.mark.parametrize("side", [64, 320])
def test_an_image_that_the_network_has_no_number_for_is_the_images_fault(tmp_path: Path, side: int) -> None:
    class Numberless(Closed):
        def predict(self, chips: Chips) -> Probabilities:
            return np.full((len(chips), len(PICTURE_CLASSES)), np.nan, np.float32)

    package = make_classifier(tmp_path / "m")
    upload = Upload(body=encode(make_pixels(side=side)), claim="image/jpeg")

    async def ask() -> None:
        runtime: Any = SimpleNamespace(pictures=Aside(1, patience_s=0.5, busy="busy"))
        await _answer(runtime, serving(package, Numberless()), upload, max_pixels=10**6)

    with pytest.raises(UnanswerableError, match="has no number for this image") as caught:
        asyncio.run(ask())
    assert problem_of(caught.value).status == 422


def test_a_large_image_keeps_its_place_until_it_is_answered(tmp_path: Path) -> None:
    package, network = make_classifier(tmp_path / "m"), Closed()
    runtime: Any = SimpleNamespace(pictures=Aside(1, patience_s=0.5, busy="images keep this service busy"))

    async def ask() -> None:
        served = serving(package, network)
        waiting = asyncio.ensure_future(_answer(runtime, served, LARGE, max_pixels=10**6))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="images keep"):
            await _answer(runtime, served, LARGE, max_pixels=10**6)
        network.open.set()
        assert (await waiting).shape == (len(PICTURE_CLASSES),)

    asyncio.run(ask())


def test_a_picture_of_bytes_is_held_as_bytes(tmp_path: Path) -> None:
    rules = PictureRules(make_classifier(tmp_path / "m").contract)
    assert rules.decode(LARGE.body, "JPEG", max_pixels=10**6).pixels.nbytes == 3 * 320 * 320
