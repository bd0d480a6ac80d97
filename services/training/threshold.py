"""Learn the one number of a `threshold` model from the scores of tiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from services.core.downloads import open_at_hand
from services.core.errors import RequestError
from services.core.flow.execute import compute
from services.core.flow.flow import Flow
from services.core.grid import TileGrid, Window
from services.core.model.contract import Contract, ModelClass
from services.core.model.package import ModelPackage
from services.core.model.package_save import save_package
from services.core.model.statistics import Tally
from services.core.model.threshold import score_scale
from services.core.raster.classmap import UNLABELLED, read_class_map
from services.core.raster.open import Fetch
from services.core.records import Scene
from services.core.scene_bench import SceneBench
from services.core.version import code_version
from services.training.threshold_card import threshold_card, threshold_files

Scores = NDArray[np.float64]  #: (T,), one per tile

DARK_BRIGHT = (ModelClass(value=0, name="dark", color="#2d2d52"), ModelClass(value=1, name="bright", color="#f2e6a2"))

_LEAST_VALID = 0.5  # a sliver of a tile says little about what tiles are like


@dataclass(frozen=True, slots=True, kw_only=True)
class TileScores:
    """The tiles of one scene that are at least half valid, row by row."""

    scores: Scores
    tiles: tuple[tuple[int, int], ...]  #: (row, col) of each


def train_threshold(
    scenes: Sequence[str | Path],
    out: Path,
    *,
    labels: Path | None = None,
    tile_px: int = 128,
    name: str = "brightness",
    fetch: Fetch | None = None,
) -> ModelPackage:
    """Learn what score divides dark tiles from bright ones, and pack it.

    Args:
        scenes: Their tiles are pooled.
        out: Folder of the package to write.
        labels: Class raster on the grid of the one scene: 0 is dark, 1 is bright, the rest is unlabelled; a tile is
            what most of its labelled pixels are. None: Otsu's split of the scores.
        tile_px: Side of a tile. A threshold belongs to a tile size: means of larger tiles differ less.
        name: Of the model.
        fetch: Brings remote scenes' files; None: local files only.

    Raises:
        RequestError: No scene, labels for several scenes or of one class alone, a name that no model may have, or tiles
            that do not differ.
        UnreadableSceneError, BandMismatchError: A file does not serve.
        PackageError: `out` holds something else.
    """
    if not scenes or (labels is not None and len(scenes) > 1):
        raise RequestError("a threshold is learned from one scene with labels, or from one or more without")
    draft = _draft(name, tile_px)
    opened = [open_at_hand(str(scene), fetch) for scene in scenes]
    tiled = [score_tiles(scene, tile_px) for scene in opened]
    metrics: dict[str, Any] = {
        "tiles": {scene.title: len(one.scores) for scene, one in zip(opened, tiled, strict=True)},
        "tile_px": tile_px,
        "code": code_version(),
    }
    if labels is None:
        threshold, learned = _learn_unlabelled(np.concatenate([one.scores for one in tiled]))
    else:
        threshold, learned = _learn_labelled(tiled[0], read_class_map(labels, opened[0]), tile_px)
    metrics |= learned
    contract = draft.model_copy(update={"threshold": threshold})
    files = threshold_files(contract, threshold_card(contract, metrics), metrics)
    tally = Tally(contract)
    tally.see_scores(np.concatenate([one.scores for one in tiled]).astype(np.float32))
    return save_package(out, {**files, "statistics.json": tally.statistics().encode()})


def _draft(name: str, tile_px: int) -> Contract:
    """The contract before its threshold is known, so that a bad name costs no training.

    Raises:
        RequestError: No model may be called so, or no tile be so small.
    """
    if tile_px < 1:
        raise RequestError(f"tiles of {tile_px} px hold nothing; give their side as 1 or more")
    try:
        return Contract(
            name=name,
            kind="threshold",
            bands=(),
            units="dn",
            chip_px=tile_px,
            stride_px=tile_px,
            classes=DARK_BRIGHT,
            threshold=0.0,
        )
    except ValidationError as exc:
        raise RequestError(
            f"{name!r} is no name for a model: it takes up to 63 small letters, digits, points and dashes, and begins "
            "with a letter or digit"
        ) from exc


def score_tiles(scene: Scene, tile_px: int) -> TileScores:
    """Scores as a batch run computes them, one row of tiles in memory at a time."""
    flow = Flow.open(scene).tile_mean(tile_px, score_scale(scene))
    rows, cols = flow.layer.shape
    bench = SceneBench(scene, scene.bands)
    scores: list[float] = []
    tiles: list[tuple[int, int]] = []
    try:
        for row in range(rows):
            data = compute(flow, Window(row_off=row, col_off=0, height=1, width=cols), bench).data  # (2, 1, cols)
            for col in np.flatnonzero(data[1, 0] >= _LEAST_VALID):
                scores.append(float(data[0, 0, col]))
                tiles.append((row, int(col)))
    finally:
        bench.close()
    return TileScores(scores=np.array(scores), tiles=tuple(tiles))


def _learn_unlabelled(scores: Scores) -> tuple[float, dict[str, Any]]:
    """(threshold, what to tell of it)."""
    threshold = _in_few_digits(otsu_threshold(scores), scores)
    how = "Otsu: the split of the scores that leaves each side most alike within itself"
    return threshold, {"how": how, "bright_share": round(float((scores >= threshold).mean()), 4)}


def _learn_labelled(tiled: TileScores, classes: NDArray[np.int16], tile_px: int) -> tuple[float, dict[str, Any]]:
    """(threshold, what to tell of it)."""
    bright, known = _label_tiles(classes, tiled.tiles, tile_px)
    if bright[known].all() or not bright[known].any():
        told = "bright" if bright[known].all() else "dark"
        raise RequestError(f"the labels call every tile {told}; a threshold is learned from tiles of both kinds")
    threshold = _in_few_digits(labelled_threshold(tiled.scores[known], bright[known]), tiled.scores)
    right = (tiled.scores[known] >= threshold) == bright[known]
    return threshold, {
        "how": "the split that gets most labelled tiles right",
        "accuracy_on_training_tiles": round(float(right.mean()), 4),
        "bright_share": round(float((tiled.scores >= threshold).mean()), 4),
    }


def _in_few_digits(cut: float, scores: Scores) -> float:
    """Six digits, or as many more as it takes to split the scores as the cut itself does.

    Digits, not decimals: 32 bit numbers without a scale have scores of a millionth.
    """
    shorter = (float(f"{cut:.{digits}g}") for digits in range(6, 17))
    return next((short for short in shorter if np.array_equal(scores >= short, scores >= cut)), cut)


def _label_tiles(
    classes: NDArray[np.int16], tiles: Sequence[tuple[int, int]], tile_px: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(T,) whether most labelled pixels of a tile are bright, and (T,) whether it has any.

    Raises:
        RequestError: No tile is labelled.
    """
    grid = TileGrid(shape=(classes.shape[0], classes.shape[1]), tile_px=tile_px)
    bright, known = np.zeros(len(tiles), np.bool_), np.zeros(len(tiles), np.bool_)
    for index, (row, col) in enumerate(tiles):
        window = grid.window(row, col)
        part = classes[window.row_off : window.row_end, window.col_off : window.col_end]
        part = part[(part != UNLABELLED) & (part <= 1)]
        known[index] = part.size > 0
        bright[index] = part.size > 0 and bool(part.mean() >= 0.5)
    if not known.any():
        raise RequestError("the labels name no tile: they need 0 for dark and 1 for bright")
    return bright, known


def otsu_threshold(scores: Scores) -> float:
    """The split that leaves the two sides most alike within themselves; needs no labels.

    Raises:
        RequestError: Fewer than two different scores.

    Source: Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076, on the values themselves instead of a histogram.
    """
    ordered = np.sort(scores)
    below, cuts = _cuts(ordered)
    sums = np.cumsum(ordered)
    low, high = sums[below - 1] / below, (sums[-1] - sums[below - 1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * (low - high) ** 2
    return float(cuts[np.argmax(between)])


def labelled_threshold(scores: Scores, bright: NDArray[np.bool_]) -> float:
    """The split that gets most labelled tiles right; the lowest of several equal ones.

    Args:
        scores: (T,).
        bright: (T,), the label of each tile.

    Raises:
        RequestError: Fewer than two different scores.
    """
    order = np.argsort(scores, kind="stable")
    below, cuts = _cuts(scores[order])
    labels = bright[order]
    right = np.cumsum(~labels)[below - 1] + (labels.sum() - np.cumsum(labels)[below - 1])
    return float(cuts[np.argmax(right)])


def _cuts(ordered: Scores) -> tuple[NDArray[np.intp], Scores]:
    """(how many scores lie below, the cut halfway) for every place where ordered scores differ."""
    below = np.flatnonzero(np.diff(ordered) > 0) + 1
    if not len(below):
        raise RequestError("a threshold cannot be learned: every tile has the same score; give scenes that differ")
    middle = (ordered[below - 1] + ordered[below]) / 2
    return below, np.where(middle > ordered[below - 1], middle, ordered[below])  # nothing lies between neighbours
