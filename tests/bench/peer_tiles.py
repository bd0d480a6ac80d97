"""Child: the threshold job as the reference pipeline does it: every tile to a .tif of its own, each read twice.

A reimplementation, said so: github.com/ThomasLeMontagner/satellite-ml-pipeline (`core_pipeline/tile.py`, `validate.py`,
`batch_inferences.py`, `model/train_from_tiles.py`, `model/features.py`), sequential as there, tiles uncompressed as
there. Two things differ in its favour: a tile file has the tile's size (there, by mistake, the scene's), and only the
mean is taken unless `deviation` asks for the standard deviation that `features.py` computes beside it.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window, transform

from tests.bench.process import answer, told

TILE_PX = 256


def main() -> None:
    wish = told()
    with tempfile.TemporaryDirectory(dir=wish["scratch"]) as folder:
        started, cpu = time.perf_counter(), time.process_time()
        count = _cut(wish["scene"], Path(folder), wish["tiles"])
        paths = sorted(Path(folder).glob("*.tif"))
        features = [_features(_load(path), deviation=wish["deviation"]) for path in paths]
        threshold = float(np.mean([one["mean"] for one in features]))
        answers = [_infer(path, threshold, deviation=wish["deviation"]) for path in paths]
        (Path(folder) / "predictions.json").write_text(json.dumps(answers, indent=2))
        spent, cpu = time.perf_counter() - started, time.process_time() - cpu
    answer(tiles_per_s=count / spent, tiles=count, cpu_s=cpu)


def _cut(scene: str, folder: Path, limit: int) -> int:
    """The first `limit` whole tiles, row by row; partial ones are skipped, as there."""
    count = 0
    with rasterio.open(scene) as source:
        for row in range(0, source.height - TILE_PX + 1, TILE_PX):
            for col in range(0, source.width - TILE_PX + 1, TILE_PX):
                if count == limit:
                    return count
                window = Window(col, row, TILE_PX, TILE_PX)
                meta = {**source.meta, "height": TILE_PX, "width": TILE_PX}
                meta["transform"] = transform(window, source.transform)
                with rasterio.open(folder / f"{count:05d}.tif", "w", **meta) as target:
                    target.write(source.read(window=window))
                count += 1
    return count


def _load(path: Path) -> Any:
    with rasterio.open(path) as source:
        return source.read()


def _features(tile: Any, *, deviation: bool) -> dict[str, float]:
    flat = tile.astype(np.float32).ravel()
    return {"mean": float(np.mean(flat))} | ({"std": float(np.std(flat))} if deviation else {})


def _infer(path: Path, threshold: float, *, deviation: bool) -> dict[str, Any]:
    with rasterio.open(path) as source:  # validate.py opens each tile once more
        if source.crs is None or source.width <= 0 or source.height <= 0:
            raise ValueError(path)
    mean = _features(_load(path), deviation=deviation)["mean"]
    return {"tile_id": path.stem, "prediction": int(mean > threshold), "mean_intensity": mean}


if __name__ == "__main__":
    main()
