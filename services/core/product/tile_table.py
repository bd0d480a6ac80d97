"""`tiles.parquet`: one row per planned tile, row-major, as GeoParquet 1.1.

Row groups are cut by row number alone, so equal answers give equal
bytes however the run was cut into units.
"""

import json
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from services.core.grid import TileGrid
from services.core.product.arrow import pa, pq
from services.core.product.class_map import ClassPixels
from services.core.product.footprints import BBOX, PLACE, Footing
from services.core.product.spec import ProductSpec
from services.core.records import Scene
from services.core.storage.files import local_errors
from services.core.unit import COMPUTED, STATES, UnitBlock

_GROUP_ROWS = 4_096
#: Rows made at once: each weighs some 4 KiB while it is made, and a whole group of them would be the peak of a run.
_MADE_ROWS = 512
_WRITER = {"compression": "zstd", "compression_level": 3, "use_dictionary": ["state", "class"]}


class TileTable:
    """A table that grows by blocks and holds at most one row group.

    Columns: `geometry` (WKB polygon in the scene's CRS: the tile's pixels inside the scene), `row`, `col`, `state`,
    `valid_fraction`, then `score` and `class` for a threshold, `class` and `probabilities` (in class order) for the
    others, null unless computed; and `bbox`, which lets readers skip row groups.
    """

    def __init__(self, spec: ProductSpec, path: Path) -> None:
        """Make the file.

        Raises:
            StorageRefusedError, StorageUnavailableError: It cannot be written.
        """
        self._spec = spec
        self._name = str(path)
        self._blocks: list[tuple[UnitBlock, ClassPixels]] = []
        self._rest: list[pa.Table] = []
        self._footing = Footing(scene=spec.scene, grid=spec.grid, step=spec.step)
        self._schema = _schema(spec, self._footing)
        with local_errors(self._name, writing=True):
            self._writer = pq.ParquetWriter(path, self._schema, **_WRITER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with local_errors(self._name, writing=True):
            if error is None:
                self._flush(rest=True)
            self._writer.close()

    def add(self, block: UnitBlock, classes: ClassPixels) -> None:
        """Append the block's tiles; `classes` are their `tile_classes`.

        Raises:
            StorageUnavailableError: The disk is full.
        """
        self._blocks.append((replace(block, pixels=None), classes))  # the map's pixels must not wait here
        if sum(held.state.size for held, _ in self._blocks) >= _MADE_ROWS:
            with local_errors(self._name, writing=True):
                self._flush()

    def _flush(self, *, rest: bool = False) -> None:
        """Make rows of the blocks, and write full row groups; and what is left, if this is the `rest`."""
        if self._blocks:
            self._rest.append(self._table(*_merged(self._blocks)))
            self._blocks = []
        if not self._rest:
            return
        table = pa.concat_tables(self._rest)
        while len(table) >= _GROUP_ROWS or (rest and len(table)):
            # Arrow cuts pages where its chunks end: made one chunk, a group has the same bytes whatever came in.
            self._writer.write_table(table.slice(0, _GROUP_ROWS).combine_chunks(), row_group_size=_GROUP_ROWS)
            table = table.slice(_GROUP_ROWS)
        self._rest = [table]

    def _table(self, block: UnitBlock, classes: ClassPixels) -> pa.Table:
        places = self._footing.columns(block.row_start, block.row_start + block.state.shape[0])
        columns = {**places, **_answers(self._spec, block, classes)}
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)


def _merged(blocks: list[tuple[UnitBlock, ClassPixels]]) -> tuple[UnitBlock, ClassPixels]:
    """Neighbouring blocks as one: a table of 43 tiles takes as long to build as one of thousands."""
    merged = UnitBlock(
        row_start=blocks[0][0].row_start,
        state=np.concatenate([block.state for block, _ in blocks]),
        valid_fraction=np.concatenate([block.valid_fraction for block, _ in blocks]),
        answers=np.concatenate([block.answers for block, _ in blocks], axis=1),
    )
    return merged, np.concatenate([classes for _, classes in blocks])


def write_tile_index(scene: Scene, grid: TileGrid, path: Path) -> None:
    """Footprints alone, for a scene nobody has predicted yet: `geometry`, `row`, `col`, `bbox`.

    Raises:
        GeoreferenceError: A CRS that PROJ does not understand.
        StorageRefusedError, StorageUnavailableError: It cannot be written.
    """
    footing = Footing(scene=scene, grid=grid)
    schema = pa.schema([*PLACE, BBOX], metadata=_metadata({"geo": footing.geo()}))
    at_once = max(1, _GROUP_ROWS // grid.cols)
    with local_errors(str(path), writing=True), pq.ParquetWriter(path, schema, **_WRITER) as writer:
        for start in range(0, grid.rows, at_once):
            columns = footing.columns(start, min(start + at_once, grid.rows))
            writer.write_table(pa.table([columns[name] for name in schema.names], schema=schema))


def _schema(spec: ProductSpec, footing: Footing) -> pa.Schema:
    answers = [("class", pa.string())]
    if spec.contract.kind == "threshold":
        answers.insert(0, ("score", pa.float32()))
    else:
        answers.append(("probabilities", pa.list_(pa.float32())))
    columns = [
        *PLACE,
        pa.field("state", pa.string(), nullable=False),
        pa.field("valid_fraction", pa.float32(), nullable=False),
        *(pa.field(name, kind) for name, kind in answers),
        BBOX,
    ]
    return pa.schema(columns, metadata=_metadata({"geo": footing.geo(), "swath": _about(spec)}))


def _metadata(notes: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {key: json.dumps(note, sort_keys=True) for key, note in notes.items()}


def _about(spec: ProductSpec) -> dict[str, Any]:
    return {
        "model": {"name": spec.contract.name, "digest": spec.run.model_digest, "kind": spec.contract.kind},
        "scene_digest": spec.scene.digest,
        "classes": [c.model_dump(mode="json") for c in spec.contract.classes],
    }


def _answers(spec: ProductSpec, block: UnitBlock, classes: ClassPixels) -> dict[str, pa.Array]:
    """What became of each tile; answers are null where it was not computed."""
    unknown = (block.state != COMPUTED).ravel()
    # Names are looked up by numpy, and offsets say what is null: Arrow's own `take` and a mask of lists would import
    # all of its compute functions, a third of publishing a small map.
    states, names = (np.array(words, object) for words in (STATES, [c.name for c in spec.contract.classes]))
    columns = {
        "state": pa.array(states[block.state.ravel()], pa.string()),
        "valid_fraction": pa.array(block.valid_fraction.ravel()),
        "class": pa.array(names[np.where(unknown, 0, classes.ravel())], pa.string(), mask=unknown),
    }
    if spec.contract.kind == "threshold":
        return {**columns, "score": pa.array(block.answers[0].ravel(), mask=unknown)}
    count = len(block.answers)
    values = block.answers.reshape(count, -1).T[~unknown]  # (K, rows, cols) -> (N known, K)
    offsets = np.concatenate([[0], np.cumsum(np.where(unknown, 0, count))]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets, mask=np.append(unknown, False)), pa.array(values.ravel()))
    return {**columns, "probabilities": lists}
