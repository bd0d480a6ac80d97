"""Where tiles lie on the ground, as columns of a GeoParquet 1.1 table; by thousands at once, unlike `raster.place`.

Source: https://geoparquet.org/releases/v1.1.0/.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from services.core.grid import TileGrid
from services.core.product.arrow import pa
from services.core.raster.projjson import crs_projjson
from services.core.records import Scene

Corners = NDArray[np.float64]

_BBOX = ("xmin", "ymin", "xmax", "ymax")
_BBOX_TYPE = pa.struct([pa.field(name, pa.float64(), nullable=False) for name in _BBOX])

#: Every table of tiles begins with these, and ends with `BBOX`.
PLACE = (
    pa.field("geometry", pa.binary(), nullable=False),
    pa.field("row", pa.int32(), nullable=False),
    pa.field("col", pa.int32(), nullable=False),
)
BBOX = pa.field("bbox", _BBOX_TYPE, nullable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """Tiles on the ground: a grid on the scene's own raster, or on one whose pixels are `step` scene pixels wide."""

    scene: Scene
    grid: TileGrid
    step: float = 1.0

    def geo(self) -> dict[str, Any]:
        """The `geo` metadata of a table.

        Raises:
            GeoreferenceError: A CRS that PROJ does not understand.
        """
        height, width = self.scene.shape
        corners = self._placed(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
        column = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": crs_projjson(self.scene.crs),
            "edges": "planar",
            "orientation": "counterclockwise",
            "bbox": [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()],
            "covering": {"bbox": {name: ["bbox", name] for name in _BBOX}},
        }
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}

    def columns(self, row_start: int, row_stop: int) -> dict[str, pa.Array]:
        """`PLACE` and `BBOX` of the tile rows [row_start, row_stop), row-major."""
        corners = self._corners(row_start, row_stop)  # (N, 4, 2)
        low, high = corners.min(axis=1), corners.max(axis=1)
        rows, cols = np.indices((row_stop - row_start, self.grid.cols), np.int32)
        sides = [pa.array(np.ascontiguousarray(side)) for side in (*low.T, *high.T)]
        return {
            "geometry": pa.array(shapely.to_wkb(shapely.polygons(corners), byte_order=1), pa.binary()),
            "row": pa.array((rows + np.int32(row_start)).ravel()),
            "col": pa.array(cols.ravel()),
            "bbox": pa.StructArray.from_arrays(sides, fields=list(_BBOX_TYPE)),
        }

    def _corners(self, row_start: int, row_stop: int) -> Corners:
        """(N, 4, 2) corners of the tiles in the scene's CRS, counter-clockwise, cut at the scene's far edges."""
        size, (height, width) = self.grid.tile_px * self.step, self.scene.shape
        row_edges = np.minimum(np.arange(row_start, row_stop + 1) * size, height)
        col_edges = np.minimum(np.arange(self.grid.cols + 1) * size, width)
        top, left = np.meshgrid(row_edges[:-1], col_edges[:-1], indexing="ij")
        bottom, right = np.meshgrid(row_edges[1:], col_edges[1:], indexing="ij")
        around = [(left, top), (left, bottom), (right, bottom), (right, top)]  # counter-clockwise where north is up
        pixels = np.stack([np.stack(corner, axis=-1) for corner in around], axis=-2)  # (rows, cols, 4, 2)
        a, b, _, d, e, _ = self.scene.transform
        mirrored = a * e - b * d > 0  # image rows run down: a north-up raster has a negative determinant
        placed = self._placed(pixels.reshape(-1, 4, 2))
        return placed[:, ::-1] if mirrored else placed

    def _placed(self, pixels: Corners) -> Corners:
        """(..., 2) as (column, row) of the scene to (x, y)."""
        a, b, c, d, e, f = self.scene.transform
        col, row = pixels[..., 0], pixels[..., 1]
        # Term by term: a matrix product may round differently on another processor.
        return np.stack([a * col + b * row + c, d * col + e * row + f], axis=-1)
