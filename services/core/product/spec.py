"""What a product is made from, and the grid of its map. A value: whoever assembles a run fills it in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.core.flow.predict import CLASS_NODATA
from services.core.grid import TileGrid
from services.core.model.contract import Contract
from services.core.records import Affine6, Run, Scene

MAP = "map.tif"
TILES = "tiles.parquet"
STATISTICS = "statistics.json"
ITEM = "item.json"
MANIFEST = "manifest.json"
#: In the order they are written; the manifest names the others, so it comes last.
FILES = (MAP, TILES, STATISTICS, ITEM, MANIFEST)

NODATA = CLASS_NODATA


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductSpec:
    """One run, ready to be published. `map.tif` and `tiles.parquet` follow from scene, contract, grid and step alone.

    Run id, times, counts of reused tiles and versions of libraries enter `item.json` and `manifest.json` only.
    """

    run: Run
    scene: Scene
    contract: Contract
    grid: TileGrid  #: tiles on the base raster: the scene's own, or what it was resampled to
    step: float  #: scene pixels per pixel of the base raster along one side; 1.0 unless resampled
    on_tiles: bool  #: answers come per tile; units hold no pixels
    flow: dict[str, Any]  #: `Flow.describe()`
    plan: dict[str, Any]  #: `Plan.summary()`
    code_version: str
    finished_at: datetime  #: aware
    model_item: Mapping[str, Any] = field(default_factory=dict)  #: the package's model.json; empty: not at hand
    model_href: str = ""  #: where the package is kept
    reused: int | None = None  #: tiles taken over from earlier runs; None: not counted

    @property
    def tile_map(self) -> bool:
        """Whether one pixel of the map is one tile. A threshold's map lies on the base raster all the same."""
        return self.on_tiles and self.contract.kind != "threshold"

    @property
    def map_shape(self) -> tuple[int, int]:
        """(height, width) of the map."""
        return (self.grid.rows, self.grid.cols) if self.tile_map else self.grid.shape

    @property
    def map_step(self) -> float:
        """Scene pixels per pixel of the map along one side."""
        return self.step * (self.grid.tile_px if self.tile_map else 1)

    @property
    def map_transform(self) -> Affine6:
        """Pixel of the map (column, row) to coordinates of the scene's CRS; shares the scene's first corner."""
        a, b, c, d, e, f = self.scene.transform
        step = self.map_step
        return a * step, b * step, c, d * step, e * step, f

    @property
    def answers(self) -> int:
        """Numbers per tile: one score, or one probability per class."""
        return 1 if self.contract.kind == "threshold" else len(self.contract.classes)
