"""`swath train`: make a package from data, and say how good it is."""

from collections.abc import Sequence
from pathlib import Path

from services.core.log import configure_logging
from services.core.settings import load_settings


def train_threshold_command(
    scenes: Sequence[str], *, out: str, labels: str | None, tile_px: int, name: str, as_json: bool
) -> int:
    """Learn a threshold from scenes, by labels or by Otsu."""
    from services.training.threshold import train_threshold

    configure_logging(load_settings().log_level)
    report = train_threshold(
        [Path(scene) for scene in scenes],
        Path(out),
        labels=Path(labels) if labels else None,
        tile_px=tile_px,
        name=name,
    )
    return _report(report, as_json=as_json)
