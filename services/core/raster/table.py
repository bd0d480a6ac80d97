"""The band table inside a COG that `write_scene_cog` made: what TIFF's own tags cannot say per band."""

from datetime import datetime

from pydantic import ValidationError

from services.core.errors import UnreadableSceneError
from services.core.raster.facts import RasterFacts
from services.core.records import Band, Record, Scene

#: Dataset tag that holds it.
TABLE_TAG = "SWATH_BANDS"


class BandTable(Record):
    """Bands as they were in the scene, now all of one file and one dtype; and when and by what it was taken."""

    bands: tuple[Band, ...]
    platform: str | None = None
    acquired_at: datetime | None = None


def build_table(scene: Scene, dtype: str) -> BandTable:
    """The table of a scene whose bands go into one file in their order."""
    bands = tuple(
        band.model_copy(update={"asset": 0, "bidx": bidx, "dtype": dtype})
        for bidx, band in enumerate(scene.bands, start=1)
    )
    return BandTable(bands=bands, platform=scene.platform, acquired_at=scene.acquired_at)


def parse_table(facts: RasterFacts) -> BandTable | None:
    """The table of a file, or None where it has none.

    Raises:
        UnreadableSceneError: It has one that does not fit its bands.
    """
    text = facts.tags.get(TABLE_TAG)
    if text is None:
        return None
    try:
        table = BandTable.model_validate_json(text)
    except ValidationError as exc:
        raise UnreadableSceneError(f"{facts.href} has a damaged {TABLE_TAG} tag; prepare the scene again") from exc
    stored = [(0, layer.bidx, layer.dtype) for layer in facts.layers]
    if [(band.asset, band.bidx, band.dtype) for band in table.bands] != stored:
        raise UnreadableSceneError(f"{facts.href} has a {TABLE_TAG} tag of other bands than its own; prepare it again")
    return table
