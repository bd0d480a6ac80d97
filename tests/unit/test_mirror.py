"""What a chip lacks is filled with its own mirror image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.flow.mirror import fill_chip, mirror_fill


def a_chip(side: int = 16) -> np.ndarray:
    return np.random.default_rng(1).random((2, side, side)).astype(np.float32)


@given(st.integers(1, 16), st.integers(1, 16))
def test_past_a_straight_edge_it_is_numpys_reflection(height: int, width: int) -> None:
    chip, known = a_chip(), np.zeros((16, 16), np.bool_)
    known[:height, :width] = True
    expected = np.pad(chip[:, :height, :width], ((0, 0), (0, 16 - height), (0, 16 - width)), mode="reflect")
    chip[:, ~known] = 0
    mirror_fill(chip, known)
    np.testing.assert_array_equal(chip, expected)


@given(st.integers(1, 16), st.integers(1, 16))
def test_a_chip_held_in_part_is_filled_alike_whether_its_mask_is_told_or_not(height: int, width: int) -> None:
    told, untold = a_chip(), a_chip()
    fill_chip(told, np.ones((height, width), np.bool_), held=(height, width))
    fill_chip(untold, None, held=(height, width))
    np.testing.assert_array_equal(told, untold)


@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_every_hole_is_filled_from_what_is_known_and_that_is_kept(seed: int, share: float) -> None:
    chip, known = a_chip(), np.random.default_rng(seed).random((16, 16)) < share
    known[seed % 16, seed // 16 % 16] = True
    before, seen = chip.copy(), known.copy()
    chip[:, ~known] = np.nan
    mirror_fill(chip, known)
    np.testing.assert_array_equal(chip[:, known], before[:, known])
    assert np.isin(chip[0], before[0][known]).all()
    assert (known == seen).all()


def test_a_pixel_keeps_its_bands_together() -> None:
    chip, known = a_chip(), np.random.default_rng(3).random((16, 16)) < 0.3
    pairs = {tuple(pair) for pair in chip[:, known].T.tolist()}
    mirror_fill(chip, known)
    assert {tuple(pair) for pair in chip.reshape(2, -1).T.tolist()} <= pairs


@pytest.mark.parametrize("value", [True, False])
def test_a_chip_with_nothing_missing_or_nothing_there_is_left_as_it_is(value: bool) -> None:
    chip = a_chip()
    before = chip.copy()
    mirror_fill(chip, np.full((16, 16), value))
    np.testing.assert_array_equal(chip, before)
