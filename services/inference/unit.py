"""Compute one unit: walk its windows, gather answers, mask what is damaged and say why."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

import numpy as np

from services.core.errors import StorageUnavailableError, UnanswerableError, UnreadableSceneError
from services.core.flow.execute import walk
from services.core.flow.flow import Flow
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
from services.inference.hidden import Piece, TolerantBench, find_unreadable, leave_out

#: What masks the tiles it is met in, and no others.
HIDES_TILES = (UnreadableSceneError, UnanswerableError)


def compute_unit(job: Job, unit: PlannedUnit, bench: SceneBench) -> UnitBlock:
    """All tiles of a unit. What hides a tile, a damaged block or numbers beyond the network, masks it and no other.

    Where nothing is masked, the bytes are those of a unit that nothing ever disturbed; and every chip counts once.

    Raises:
        RetryableError: The scene could not be reached; nothing is known about its tiles.
        ObjectNotFoundError: It is no longer the scene that was ingested.
    """
    pieces = list(job.plan.windows(unit))
    try:
        return compute_pieces(job, unit, pieces, bench)
    except HIDES_TILES:
        unreadable = find_unreadable(job, pieces, bench.reader)
    try:
        return _compute_around(job, unit, pieces, unreadable, bench)
    except UnreadableSceneError as exc:
        raise StorageUnavailableError(
            f"{job.scene.title} can be read at one moment and not at the next; look at its disk, and try again later"
        ) from exc


def compute_pieces(job: Job, unit: PlannedUnit, pieces: list[Piece], bench: Bench) -> UnitBlock:
    """The tiles of some windows of a unit, the rest blank; a damaged block of the file stops it."""
    block, watched = _blank(job, unit), WatchedBench(bench, job.contract)
    for tiles, tile in _walk(job.flow, pieces, watched):
        _store(job, block, tiles, tile)
    return _counted(job, block, watched)


def _compute_around(
    job: Job, unit: PlannedUnit, pieces: list[Piece], unreadable: dict[Window, str], bench: SceneBench
) -> UnitBlock:
    """All tiles but those that cannot be read; what hangs on a chip without an answer is masked."""
    block, tolerant = _blank(job, unit), TolerantBench(bench, job.contract)
    for one, reason in unreadable.items():
        _mask(job, block, one, reason)
    flow = job.flow.chip_by_chip() if unreadable else job.flow
    for tiles, tile in _walk(flow, leave_out(job, pieces, unreadable), tolerant):
        lost = [] if tolerant.reason is None else _unanswered(job, tiles, tile)
        if lost != [tiles]:
            _store(job, block, tiles, tile)
        for one in lost:
            _mask(job, block, one, str(tolerant.reason))
    return _counted(job, block, tolerant)


def _walk(flow: Flow, pieces: list[Piece], bench: Bench) -> Iterator[tuple[Window, Tile]]:
    """Each piece's window of the tile grid, and what the flow says there."""
    schedule = build_schedule(flow, [window for _, window in pieces])
    return zip((tiles for tiles, _ in pieces), walk(schedule, bench), strict=True)


def _unanswered(job: Job, tiles: Window, tile: Tile) -> list[Window]:
    """Those of a piece's tiles that hang on a chip without an answer."""
    lost = np.isnan(tile.data).any(axis=0)
    if not job.plan.on_tiles:
        return [tiles] if lost.any() else []
    return [
        Window(row_off=tiles.row_off + row, col_off=tiles.col_off + col, height=1, width=1)
        for row, col in np.argwhere(lost).tolist()
    ]


def _mask(job: Job, block: UnitBlock, tile: Window, reason: str) -> None:
    row, col = tile.row_off - block.row_start, tile.col_off
    block.state[row, col] = MASKED
    block.valid_fraction[row, col] = 0
    block.answers[:, row, col] = 0
    block.reasons[f"{tile.row_off},{tile.col_off}"] = _placeless(reason, job)


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
