"""Compute one unit: walk its windows, gather answers, mask what is damaged and say why."""

from dataclasses import replace
from pathlib import PurePath

import numpy as np

from services.core.errors import UnanswerableError, UnreadableSceneError
from services.core.flow.execute import compute, walk
from services.core.flow.predict import pick_class
from services.core.flow.schedule import build_schedule
from services.core.flow.tile import Bench, Tile
from services.core.grid import Window
from services.core.job import Job
from services.core.names import public_href
from services.core.records import PlannedUnit
from services.core.scene_bench import SceneBench
from services.core.unit import COMPUTED, EMPTY, MASKED, UnitBlock
from services.core.watched_bench import WatchedBench

#: What masks the tiles it is met in, and no others.
HIDES_TILES = (UnreadableSceneError, UnanswerableError)

Piece = tuple[Window, Window]  #: (window of the tile grid, window of the flow's layer)


def compute_unit(job: Job, unit: PlannedUnit, bench: SceneBench) -> UnitBlock:
    """All tiles of a unit. What hides a tile, a damaged block or numbers beyond the network, masks it and no other.

    Raises:
        RetryableError: The scene could not be reached; nothing is known about its tiles.
        ObjectNotFoundError: It is no longer the scene that was ingested.
    """
    pieces = list(job.plan.windows(unit))
    try:
        return compute_pieces(job, unit, pieces, bench)
    except HIDES_TILES:
        bench.check_files()
        # It is somewhere in here: find out tile by tile where.
        block, watched = _blank(job, unit), WatchedBench(bench, job.contract)
        for tiles, _ in pieces:
            for one, window in job.plan.split(tiles):
                _try_tile(job, block, one, window, watched)
        return _counted(job, block, watched)


def compute_pieces(job: Job, unit: PlannedUnit, pieces: list[Piece], bench: Bench) -> UnitBlock:
    """The tiles of some windows of a unit, the rest blank; a damaged block of the file stops it."""
    block, watched = _blank(job, unit), WatchedBench(bench, job.contract)
    schedule = build_schedule(job.flow, [window for _, window in pieces])
    for (tiles, _), tile in zip(pieces, walk(schedule, watched), strict=True):
        _store(job, block, tiles, tile)
    return _counted(job, block, watched)


def _try_tile(job: Job, block: UnitBlock, tiles: Window, window: Window, bench: Bench) -> None:
    try:
        _store(job, block, tiles, compute(job.flow, window, bench))
    except HIDES_TILES as exc:
        block.state[tiles.row_off - block.row_start, tiles.col_off] = MASKED
        block.reasons[f"{tiles.row_off},{tiles.col_off}"] = _placeless(str(exc), job)


def _counted(job: Job, block: UnitBlock, watched: WatchedBench) -> UnitBlock:
    """The block with what was counted; a threshold has no network to watch, so its tiles' scores are."""
    if job.contract.kind == "threshold":
        watched.tally.see_scores(block.answers[0][block.state == COMPUTED])
    block.tally = watched.tally.counts
    return block


def _placeless(reason: str, job: Job) -> str:
    """The sentence with file names for paths: equal scenes must leave equal bytes, wherever their files lie."""
    for asset in job.scene.assets:
        href = public_href(asset.href)
        reason = reason.replace(href, PurePath(href).name)
    return reason


def _blank(job: Job, unit: PlannedUnit) -> UnitBlock:
    grid = job.plan.grid
    pixels = None if job.plan.on_tiles else grid.band(unit.row_start, unit.row_stop).shape
    answers = 1 if job.contract.kind == "threshold" else len(job.contract.classes)
    return UnitBlock.blank(
        row_start=unit.row_start, shape=(unit.row_stop - unit.row_start, grid.cols), answers=answers, pixels=pixels
    )


def _store(job: Job, block: UnitBlock, tiles: Window, tile: Tile) -> None:
    rows = slice(tiles.row_off - block.row_start, tiles.row_end - block.row_start)
    cols = slice(tiles.col_off, tiles.col_end)
    if job.plan.on_tiles:
        fraction = tile.data[-1]
        block.answers[:, rows, cols] = np.where(fraction > 0, tile.data[:-1], 0)
    else:
        fraction = np.float32(1.0) if tile.valid is None else tile.valid.mean(dtype=np.float64).astype(np.float32)
        if fraction > 0:
            usable = tile.data.reshape(len(tile.data), -1) if tile.valid is None else tile.data[:, tile.valid]
            block.answers[:, rows, cols] = usable.mean(axis=1, dtype=np.float64)[:, None, None]
        assert block.pixels is not None, "a flow on pixels makes a map"
        top = job.plan.grid.window(block.row_start, 0).row_off
        block.pixels.paint(replace(tile.window, row_off=tile.window.row_off - top), pick_class(tile))
    block.valid_fraction[rows, cols] = fraction
    block.state[rows, cols] = np.where(np.asarray(fraction) > 0, COMPUTED, EMPTY)
