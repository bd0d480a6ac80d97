"""Made-up runs, ready to be published: a spec and the blocks its units would have left."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from services.core.grid import TileGrid
from services.core.model.contract import Contract, ModelClass
from services.core.product.spec import ProductSpec
from services.core.records import Affine6, Asset, Band, MaskKind, Run, RunState, Scene
from services.core.strips import Strips
from services.core.unit import COMPUTED, UnitBlock

RUN_ID = "r-20260102T030405-a1b2c3"
NORTH_UP: Affine6 = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
GEOMETRY = {"type": "Polygon", "coordinates": [[[3.0, 45.0], [3.1, 45.0], [3.1, 45.1], [3.0, 45.1], [3.0, 45.0]]]}
CLASSES = (
    ModelClass(value=0, name="Bare soil", color="#aa8844"),
    ModelClass(value=1, name="Water", color="#0000ff"),
    ModelClass(value=2, name="Forest", color="#00aa00"),
)


def make_scene(shape: tuple[int, int], **changes: Any) -> Scene:
    asset = Asset(
        href="/data/s2.tif",
        sha256="a" * 64,
        size_bytes=123,
        driver="GTiff",
        shape=shape,
        block_shape=(512, 512),
        transform=NORTH_UP,
        mask=MaskKind.NONE,
    )
    values: dict[str, Any] = {
        "id": "s2-a",
        "title": "S2 A",
        "source": "/data/s2.tif",
        "digest": "b" * 64,
        "assets": (asset,),
        "bands": (Band(name="red", asset=0, bidx=1, dtype="uint16"),),
        "shape": shape,
        "crs": "EPSG:32631",
        "transform": NORTH_UP,
        "gsd_m": 10.0,
        "acquired_at": datetime(2026, 1, 1, 10, 30, tzinfo=UTC),
        "geometry": GEOMETRY,
        "bbox": (3.0, 45.0, 3.1, 45.1),
    }
    return Scene(**{**values, **changes})


def make_contract(kind: str) -> Contract:
    if kind == "threshold":
        return Contract(name="brightness", kind="threshold", bands=(), units="dn", classes=CLASSES[:2], threshold=0.5)
    return Contract(name="land", kind=kind, bands=("red",), units="dn", mean=(0.0,), std=(1.0,), classes=CLASSES)


def make_run(tile_px: int, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": RUN_ID,
        "scene_id": "s2-a",
        "model_name": "land",
        "model_digest": "c" * 64,
        "tile_px": tile_px,
        "backend": "none",
        "out": "out",
        "state": RunState.RUNNING,
        "command": "swath run /data/s2.tif --model land",
        "code_version": "0.1.0",
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Run(**{**values, **changes})


def make_spec(
    kind: str = "classification",
    shape: tuple[int, int] = (100, 130),
    *,
    tile_px: int = 32,
    run: Run | None = None,
    **changes: Any,
) -> ProductSpec:
    """Tiles of 32 px on 100 by 130 pixels: 4 rows, 5 columns, the last row 4 px high and the last column 2 px wide."""
    values: dict[str, Any] = {
        "run": run or make_run(tile_px),
        "scene": make_scene(shape),
        "contract": make_contract(kind),
        "grid": TileGrid(shape=shape, tile_px=tile_px),
        "step": 1.0,
        "on_tiles": kind != "segmentation",
        "flow": {"name": "tile-mean", "version": 1, "inputs": [{"name": "read", "version": 1, "inputs": []}]},
        "plan": {"tiles": 20, "units": 4},
        "code_version": "0.1.0",
        "finished_at": datetime(2026, 1, 2, 4, 0, tzinfo=UTC),
    }
    return ProductSpec(**{**values, **changes})


def make_blocks(spec: ProductSpec, *, unit_rows: int = 1) -> Iterator[UnitBlock]:
    """All tiles computed. What a tile or pixel holds follows from its place, not from how units are cut."""
    for start in range(0, spec.grid.rows, unit_rows):
        stop = min(start + unit_rows, spec.grid.rows)
        pixels = None if spec.on_tiles else spec.grid.band(start, stop)
        block = UnitBlock.blank(
            row_start=start,
            shape=(stop - start, spec.grid.cols),
            answers=spec.answers,
            pixels=None if pixels is None else pixels.shape,
        )
        rows, cols = np.arange(start, stop)[:, None], np.arange(spec.grid.cols)[None, :]
        place = rows * 7 + cols * 3
        block.state[:] = COMPUTED
        block.valid_fraction[:] = 1 - (place % 4) / 8
        block.answers[:] = np.stack([(place * (k + 1) % 11) / 11 for k in range(spec.answers)])
        if pixels is not None:
            y, x = np.arange(pixels.row_off, pixels.row_end)[:, None], np.arange(pixels.width)[None, :]
            block.pixels = Strips.of(((y // 17 + x // 23) % 3).astype(np.uint8))
        yield block
