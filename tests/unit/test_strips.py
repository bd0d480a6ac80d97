"""A unit's pixels as compressed strips: whatever is painted from left to right comes back."""

import numpy as np
import pytest

from services.core.errors import CoverageError, WindowError
from services.core.grid import TileGrid, Window
from services.core.strips import STRIP_PX, Strips
from services.core.unit import UnitBlock


def noise(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 7, shape).astype(np.uint8)


def painted(pixels: np.ndarray, tile_px: int) -> Strips:
    """Tile by tile, all rows of a column before the next, as units are computed."""
    grid, strips = TileGrid(shape=pixels.shape, tile_px=tile_px), Strips(pixels.shape)
    for col in range(grid.cols):
        for row in range(grid.rows):
            window = grid.window(row, col)
            rows, cols = slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)
            strips.paint(window, pixels[rows, cols])
    return strips


def joined(strips: Strips) -> np.ndarray:
    return np.concatenate([pixels for _, pixels in strips], axis=1)


@pytest.mark.parametrize("width", [1, STRIP_PX - 1, STRIP_PX, STRIP_PX + 1, 2 * STRIP_PX + 300])
@pytest.mark.parametrize("tile_px", [64, 100, 3000])
def test_what_is_painted_comes_back(width, tile_px):
    pixels = noise((150, width))
    np.testing.assert_array_equal(joined(painted(pixels, tile_px)), pixels)


def test_the_tile_size_does_not_show():
    pixels = noise((150, 2500))
    assert painted(pixels, 64).pack() == painted(pixels, 100).pack() == Strips.of(pixels).pack()


def test_what_nobody_painted_is_nodata():
    strips = Strips((8, 3 * STRIP_PX))
    strips.paint(Window(row_off=2, col_off=STRIP_PX + 5, height=3, width=4), np.ones((3, 4), np.uint8))
    assert (joined(strips) == 255).sum() == 8 * 3 * STRIP_PX - 12


def test_a_window_left_of_a_closed_strip_is_refused():
    strips = Strips((8, 3 * STRIP_PX))
    strips.paint(Window(row_off=0, col_off=STRIP_PX, height=8, width=8), np.ones((8, 8), np.uint8))
    with pytest.raises(WindowError, match="from left to right"):
        strips.paint(Window(row_off=0, col_off=0, height=8, width=8), np.ones((8, 8), np.uint8))


def test_no_more_than_two_strips_are_held_as_they_are():
    pixels, held = noise((64, 6 * STRIP_PX)), []
    strips = Strips(pixels.shape)
    for col in range(0, pixels.shape[1], 100):
        window = Window(row_off=0, col_off=col, height=64, width=100).clip(pixels.shape)
        strips.paint(window, pixels[:, col : col + 100])
        held.append(len(strips._open))
    assert max(held) == 2


def test_a_block_keeps_its_pixels_in_the_store():
    block = UnitBlock.blank(row_start=3, shape=(2, 5), answers=7, pixels=(150, 2500))
    block.pixels = Strips.of(pixels := noise((150, 2500)))
    again = UnitBlock.decode(data := block.encode())
    np.testing.assert_array_equal(joined(again.pixels), pixels)
    assert again.encode() == data


@pytest.mark.parametrize("damage", [lambda one: one[:-3], lambda one: b"\0" + one[1:]])
def test_damaged_strips_are_told(damage):
    (packed,) = Strips.of(noise((20, 30))).pack()
    with pytest.raises(CoverageError, match="resume the run"):
        joined(Strips((20, 30), [damage(packed)]))


def test_strips_of_another_shape_are_told():
    with pytest.raises(CoverageError, match="resume the run"):
        joined(Strips((20, 31), list(Strips.of(noise((20, 30))).pack())))
