"""A model's answer over a part of a scene, at once and without a run: the same job, flow and operators as a run's.

Pixels are those of the run's map, because chips and tiles lie where the scene puts them, whatever part is asked for.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.flow.execute import walk
from services.core.flow.predict import CLASS_NODATA
from services.core.flow.schedule import build_schedule
from services.core.flow.tile import Bench, Layer, Tile
from services.core.grid import Window
from services.core.job import Job

#: Side of the windows the work is done in: what is alive does not grow with the area.
_PIECE_PX = 256
#: Layers of one answer per tile end in this band.
_FRACTION = "valid_fraction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """What a model says of a window of a scene."""

    window: Window  #: what was asked, in pixels of the scene
    cells: Window  #: what is answered, in cells of the map: at least all that the window touches
    step: float  #: pixels of the scene per cell along one side
    classes: NDArray[np.uint8]  #: (height, width) of cells; 255 where nothing is known
    #: Mean over the usable cells: of each class's probability, or of `score`; empty where no cell is usable.
    means: dict[str, float]
    valid_fraction: float  #: usable part of the cells' pixels


def area_cells(layer: Layer, window: Window) -> Window:
    """The cells of a layer that a window of the scene touches."""
    top, left = (math.floor(off / layer.step) for off in (window.row_off, window.col_off))
    bottom, right = (math.ceil(end / layer.step) for end in (window.row_end, window.col_end))
    return Window(row_off=top, col_off=left, height=max(bottom - top, 1), width=max(right - left, 1)).clip(layer.shape)


def predict_area(job: Job, window: Window, bench: Bench) -> Area:
    """Compute the cells of a job that a window of its scene touches.

    Args:
        job: Scene, model and flow.
        window: Pixels of the scene.
        bench: Reader and network.

    Raises:
        WindowError: The window is outside the scene.
        UnreadableSceneError: A block of the file is damaged there.
    """
    cells = area_cells(job.flow.layer, window)
    names = [name for name in job.flow.layer.bands if name != _FRACTION]
    classes = np.full(cells.shape, CLASS_NODATA, np.uint8)
    sums, usable = np.zeros(len(names), np.float64), 0
    shares, weight = 0.0, 0
    for tile in walk(build_schedule(job.flow, list(_pieces(cells))), bench):
        valid = tile.mask()
        answers = tile.data[: len(names)]
        classes[tile.window.within(cells)] = _classes(job, answers, tile)
        sums += answers[:, valid].sum(axis=1, dtype=np.float64)
        usable += int(np.count_nonzero(valid))
        sizes = _cell_sizes(job, tile.window)
        shares += float((sizes * (tile.data[-1] if job.plan.on_tiles else valid)).sum(dtype=np.float64))
        weight += int(sizes.sum())
    return Area(
        window=window,
        cells=cells,
        step=job.flow.layer.step,
        classes=classes,
        means={name: float(total / usable) for name, total in zip(names, sums, strict=True)} if usable else {},
        valid_fraction=shares / weight,
    )


def _pieces(cells: Window) -> Iterator[Window]:
    for row in range(cells.row_off, cells.row_end, _PIECE_PX):
        for col in range(cells.col_off, cells.col_end, _PIECE_PX):
            height, width = min(_PIECE_PX, cells.row_end - row), min(_PIECE_PX, cells.col_end - col)
            yield Window(row_off=row, col_off=col, height=height, width=width)


def _cell_sizes(job: Job, cells: Window) -> NDArray[np.int64]:
    """(h, w) pixels of each cell: fewer in a tile at the scene's edge."""
    if not job.plan.on_tiles:
        return np.ones(cells.shape, np.int64)
    grid = job.plan.grid
    heights, widths = grid.heights()[cells.row_off : cells.row_end], grid.widths()[cells.col_off : cells.col_end]
    return np.outer(heights, widths)


def _classes(job: Job, answers: NDArray[np.float32], tile: Tile) -> NDArray[np.uint8]:
    """(H, W) as a map has it: the likeliest class, the lower value on a tie."""
    threshold = job.contract.threshold
    if job.contract.kind == "threshold":
        assert threshold is not None, "the contract of a threshold has one"
        best: NDArray[np.uint8] = (answers[0] >= threshold).astype(np.uint8)
    else:
        best = answers.argmax(axis=0).astype(np.uint8)
    if tile.valid is not None:
        best[~tile.valid] = CLASS_NODATA
    return best
