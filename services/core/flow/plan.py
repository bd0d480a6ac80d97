"""How a run is cut: tiles, units, windows, bytes and peak memory, as a value. Pure: nothing is opened or read."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.core.errors import MemoryBudgetError
from services.core.flow.flow import Flow
from services.core.flow.per_tile import BlendTiles
from services.core.flow.schedule import build_schedule
from services.core.flow.tile import Layer
from services.core.grid import TileGrid, Window
from services.core.records import PlannedUnit
from services.core.strips import strips_bytes

#: Interpreter, GDAL and an inference library at rest (PERFORMANCE.md: OpenVINO 162 MB, and the rest of us).
FLOOR_BYTES = 320 * 2**20
#: GDAL's block cache: never less, so that neighbouring windows share a decoded block.
MIN_CACHE_BYTES = 16 * 2**20
#: Tiles handed to a network at once where it answers per tile.
TILES_AT_ONCE = 8
#: Chips that a unit of a smooth map is high at least: those that reach into its neighbours are computed there again.
SMOOTH_CHIPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLayout:
    """What a plan must know of how a scene is stored."""

    block_shape: tuple[int, int]
    width: int
    bands_per_block: int  #: bands decoded together: all of the files that are read, as if interleaved by pixel
    sample_bytes: int

    @property
    def striped(self) -> bool:
        """Blocks span the whole width."""
        return self.block_shape[1] >= self.width

    def cache_bytes(self, reach: Window) -> int:
        """Decoded blocks that must stay in memory so that none is decoded twice while `reach` moves rightwards."""
        height, width = (-(-length // block) + 1 for length, block in zip(reach.shape, self.block_shape, strict=True))
        cols = min(width * self.block_shape[1], -(-self.width // self.block_shape[1]) * self.block_shape[1])
        return height * self.block_shape[0] * cols * self.bands_per_block * self.sample_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run before it runs. Equal inputs give equal plans on every machine."""

    grid: TileGrid
    units: tuple[PlannedUnit, ...]
    unit_rows: int  #: tile rows per unit
    batch_cols: int  #: tile columns computed together
    on_tiles: bool  #: the flow's own pixels are tiles (scores), not pixels (maps)
    read_bytes: int  #: decoded bytes of the scene, halos included
    unit_bytes: int  #: peak of arrays in one worker
    cache_bytes: int  #: GDAL's block cache, shared by all workers
    workers: int

    @property
    def peak_bytes(self) -> int:
        """What the process is expected to hold at most."""
        return FLOOR_BYTES + self.cache_bytes + self.workers * self.unit_bytes

    def windows(self, unit: PlannedUnit) -> Iterator[tuple[Window, Window]]:
        """(window of the tile grid, window of the flow's layer): a unit's columns from left to right.

        All rows of a column come before the next column, so what is alive does not grow with the scene's width.
        """
        height = unit.row_stop - unit.row_start
        tiles = Window(row_off=unit.row_start, col_off=0, height=height, width=self.grid.cols)
        return _windows(self.grid, tiles, self.batch_cols, on_tiles=self.on_tiles)

    def split(self, tiles: Window) -> Iterator[tuple[Window, Window]]:
        """The same tile by tile: how a unit is computed around a damaged block of its scene."""
        return _one_by_one(self.grid, tiles, on_tiles=self.on_tiles)

    def summary(self) -> dict[str, Any]:
        """Numbers for people and for the run's row."""
        return {
            "tiles": self.grid.size,
            "rows": self.grid.rows,
            "cols": self.grid.cols,
            "tile_px": self.grid.tile_px,
            "units": len(self.units),
            "unit_rows": self.unit_rows,
            "batch_cols": self.batch_cols,
            "read_bytes": self.read_bytes,
            "peak_memory_bytes": self.peak_bytes,
            "workers": self.workers,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one process may take of its machine."""

    memory_bytes: int
    workers: int
    network_bytes: int = 0  #: what a network holds beside its chips, in each worker


def plan_run(
    flow: Flow, *, base: Layer, tile_px: int, layout: SourceLayout, recipe: dict[str, Any], allow: Allowance
) -> Plan:
    """Cut a run into units and fit it to a machine. The cut and the keys do not depend on the machine.

    Args:
        flow: What is computed; its layer is `base`'s grid, or one pixel per tile of it.
        base: The raster that tiles are laid on.
        tile_px: Side of a tile, in pixels of `base`.
        layout: How the scene is stored: a unit covers whole rows of blocks, so none is decoded for two units.
        recipe: JSON of everything else that determines the result (model digest, backend).
        allow: Memory and threads.

    Raises:
        MemoryBudgetError: Not even one worker fits the memory.
    """
    grid = TileGrid(shape=base.shape, tile_px=tile_px)
    on_tiles = flow.layer.step == base.step * tile_px and flow.layer.shape == (grid.rows, grid.cols)
    unit_rows, batch_cols = _cut(grid, layout, base.step, on_tiles=on_tiles)
    if isinstance(flow.operator, BlendTiles):
        unit_rows = min(max(unit_rows, SMOOTH_CHIPS * flow.operator.across), grid.rows)
    common = {"flow": flow.digest, "grid": [*grid.shape, tile_px], "batch_cols": batch_cols, **recipe}
    units = tuple(_plan_units(grid, unit_rows, common))
    tiles = Window(row_off=0, col_off=0, height=unit_rows, width=grid.cols)
    windows = [window for _, window in _windows(grid, tiles, batch_cols, on_tiles=on_tiles)]
    schedule = build_schedule(flow, windows)
    map_bytes = 0 if on_tiles else strips_bytes(grid.band(0, unit_rows).shape)
    unit_bytes = schedule.peak_bytes + allow.network_bytes + map_bytes
    reach = Window(
        row_off=0,
        col_off=0,
        height=math.ceil(unit_rows * tile_px * base.step),
        width=math.ceil(batch_cols * tile_px * base.step),
    )
    worker_cache_bytes = layout.cache_bytes(reach)
    workers = _fit(unit_bytes, worker_cache_bytes, allow, units=len(units), striped=layout.striped)
    return Plan(
        grid=grid,
        units=units,
        unit_rows=unit_rows,
        batch_cols=batch_cols,
        on_tiles=on_tiles,
        read_bytes=int(schedule.read_pixels * grid.rows / unit_rows * layout.sample_bytes),
        unit_bytes=unit_bytes,
        cache_bytes=max(MIN_CACHE_BYTES, worker_cache_bytes * workers),
        workers=workers,
    )


def _cut(grid: TileGrid, layout: SourceLayout, step: float, *, on_tiles: bool) -> tuple[int, int]:
    """(tile rows per unit, tile columns at once), so that windows follow the file's blocks."""
    rows = cols = 1
    if not layout.striped:
        rows = min(max(1, round(layout.block_shape[0] / (step * grid.tile_px))), grid.rows)
        cols = max(1, round(layout.block_shape[1] / (step * grid.tile_px)))
    if on_tiles:
        cols *= max(1, TILES_AT_ONCE // (rows * cols))
    return rows, min(cols, grid.cols)


def _plan_units(grid: TileGrid, unit_rows: int, common: dict[str, Any]) -> Iterator[PlannedUnit]:
    for index, start in enumerate(range(0, grid.rows, unit_rows)):
        stop = min(start + unit_rows, grid.rows)
        text = json.dumps({**common, "rows": [start, stop]}, sort_keys=True, separators=(",", ":"))
        key = hashlib.sha256(text.encode()).hexdigest()
        yield PlannedUnit(index=index, key=key, row_start=start, row_stop=stop, tiles=(stop - start) * grid.cols)


def _windows(grid: TileGrid, tiles: Window, batch_cols: int, *, on_tiles: bool) -> Iterator[tuple[Window, Window]]:
    for col in range(tiles.col_off, tiles.col_end, batch_cols):
        width = min(batch_cols, tiles.col_end - col)
        part = Window(row_off=tiles.row_off, col_off=col, height=tiles.height, width=width)
        if on_tiles:
            yield part, part
        else:
            yield from _one_by_one(grid, part, on_tiles=False)


def _one_by_one(grid: TileGrid, tiles: Window, *, on_tiles: bool) -> Iterator[tuple[Window, Window]]:
    for col in range(tiles.col_off, tiles.col_end):
        for row in range(tiles.row_off, tiles.row_end):
            one = Window(row_off=row, col_off=col, height=1, width=1)
            yield one, one if on_tiles else grid.window(row, col)


def _fit(unit_bytes: int, cache_bytes: int, allow: Allowance, *, units: int, striped: bool) -> int:
    """Workers whose peaks, each with its part of the block cache, fit beside the floor."""
    left = allow.memory_bytes - FLOOR_BYTES
    fitting = min(left // (unit_bytes + cache_bytes), (left - MIN_CACHE_BYTES) // unit_bytes)
    if fitting < 1:
        least = (FLOOR_BYTES + max(MIN_CACHE_BYTES, cache_bytes) + unit_bytes) / 2**20
        raise MemoryBudgetError(
            f"this run needs at least {least:.0f} MiB and {allow.memory_bytes / 2**20:.0f} MiB are allowed; "
            f"raise --memory{', make a tiled copy with `python -m services.tiler SCENE_ID`' if striped else ''} "
            "or make --tile-px smaller."
        )
    return min(allow.workers, fitting, units)
