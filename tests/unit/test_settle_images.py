"""Which weights are kept: judged here from a table of accuracies instead of from images."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from services.training import settle_images
from services.training.images import LabelledImages
from services.training.settle_images import Settled, from_all_sides, settle

FOUND = {"views": 8, "fp32": 0.98, "first_look": 0.97, "looked_again": 0.02}


@dataclass
class Table:
    """Accuracy by share, in floats and in int8; a place that is not told of is all wrong."""

    floats: dict[float, float]
    int8: dict[float, float] = field(default_factory=dict)
    tried: list[float] = field(default_factory=list)

    def in_floats(self, share: float) -> Settled:
        accuracy = self.floats.get(share, 0.0)
        return Settled(network=nn.Identity(), files={}, rough_share=share, temperature=1.0, accuracy=accuracy)

    def in_int8(self, place: Settled) -> Settled:
        self.tried.append(place.rough_share)
        accuracy = self.int8.get(place.rough_share, 0.0)
        kept = settle_images._no_worse(accuracy, place.accuracy, settle_images.TOLERANCE)
        return replace(place, int8_accuracy=accuracy, int8=b"graph" if kept else None)

    def at_first_look(self, place: Settled) -> Settled:
        return replace(place, first_look=0.97, looked_again=0.02)


def choose(
    table: Table,
    monkeypatch: pytest.MonkeyPatch,
    *,
    int8: bool = True,
    rough: Any = "weights",
    rough_cost: float = 0.001,
) -> Settled:
    monkeypatch.setattr(settle_images, "_Judge", lambda **_: table)
    monkeypatch.setattr(settle_images, "take", lambda images, held: images)
    monkeypatch.setattr(settle_images, "from_all_sides", lambda images: images)
    trained: Any = SimpleNamespace(fitted=SimpleNamespace(rough=rough), held=None)
    plan: Any = SimpleNamespace(rough_cost=rough_cost)
    return settle(trained, plan, plan, int8=int8)


def test_the_roughest_place_that_loses_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(floats={1.0: 0.95, 0.7: 0.9791, 0.6: 0.9789, 0.0: 0.98})
    assert choose(table, monkeypatch, int8=False).rough_share == 0.7


def test_who_wants_it_rougher_says_what_that_may_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(floats={1.0: 0.95, 0.7: 0.9791, 0.6: 0.9789, 0.0: 0.98}, int8={1.0: 0.9485})
    settled = choose(table, monkeypatch, rough_cost=0.03)
    assert (settled.rough_share, settled.int8) == (1.0, None)
    assert choose(table, monkeypatch, int8=False, rough_cost=0.0).rough_share == 0.0


def test_int8_has_its_own_say(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(floats={0.7: 0.98, 0.5: 0.98, 0.2: 0.98, 0.0: 0.98}, int8={0.7: 0.97, 0.5: 0.9785, 0.2: 0.979})
    settled = choose(table, monkeypatch)

    assert (settled.rough_share, settled.int8) == (0.2, b"graph")
    assert table.tried == [0.7, 0.5, 0.2]
    assert settled.as_json() == FOUND | {"int8": 0.979, "kept": True, "tolerance": 0.001}


def test_where_int8_suits_no_place_the_roughest_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = choose(Table(floats={0.4: 0.98, 0.0: 0.98}, int8={0.4: 0.9, 0.0: 0.91}), monkeypatch)

    assert (settled.rough_share, settled.int8) == (0.4, None)
    assert settled.as_json() == FOUND | {"int8": 0.9, "kept": False, "tolerance": 0.001}


def test_without_rough_epochs_the_best_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = choose(Table(floats={0.9: 0.99, 0.0: 0.98}), monkeypatch, int8=False, rough=None)

    assert (settled.rough_share, settled.as_json()) == (0.0, FOUND)


def test_views_are_the_eight_symmetries_of_a_square() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype(np.uint8)
    labels = np.array([3, 5])
    images = LabelledImages(pixels=pixels, labels=labels, classes=tuple("abcdef"), names=("x", "y"), digest="")
    views = from_all_sides(images)

    assert (views.pixels.shape, len(views)) == ((16, 3, 4, 4), 16)
    assert np.array_equal(views.pixels[:2], pixels)
    assert len({view.tobytes() for view in views.pixels[::2]}) == 8
    assert all(np.array_equal(np.sort(view, axis=None), np.sort(pixels[0], axis=None)) for view in views.pixels[::2])
    assert views.labels.tolist() == [3, 5] * 8
