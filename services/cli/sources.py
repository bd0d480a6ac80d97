"""What the user named as scenes, parsed; one scene per argument, or one scene from several --band files."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import RequestError
from services.core.raster.footprint import BBox
from services.core.raster.open import OpenOptions


@dataclass(frozen=True, slots=True)
class SceneSource:
    """One scene to open: its files, and what the user adds to what they say of themselves."""

    paths: tuple[str, ...]
    options: OpenOptions

    @property
    def label(self) -> str:
        """For messages."""
        return self.paths[0] if self.paths else next(iter(self.options.bands.values()))


def parse_sources(
    scenes: Sequence[str], *, band: Sequence[str], bands: str | None, crs: str | None, bounds: str | None
) -> list[SceneSource]:
    """Turn arguments into sources.

    Raises:
        RequestError: Nothing to open, or an option that makes no sense.
    """
    files: dict[str, str] = {}
    for entry in band:
        name, _, path = entry.partition("=")
        if not name or not path:
            raise RequestError(f"--band {entry} is not NAME=FILE, e.g. --band red=B04.jp2")
        if name in files:
            raise RequestError(f"--band {name} is given twice")
        files[name] = path
    if (crs is None) != (bounds is None):
        raise RequestError("--crs and --bounds belong together: one without the other does not place a scene")
    names = tuple(name.strip() for name in bands.split(",")) if bands else ()
    options = OpenOptions(bands=files, names=names, crs=crs, bounds=_parse_bounds(bounds))
    if files:
        if scenes:
            raise RequestError("give either scenes or --band files, not both")
        return [SceneSource((), options)]
    if not scenes:
        raise RequestError("no scene given; name a file, a folder, an s3:// object or a STAC item")
    return [SceneSource((scene,), options) for scene in scenes]


def parse_bbox(text: str | None) -> BBox | None:
    """West, south, east, north in degrees; west > east where the box crosses the antimeridian.

    Raises:
        RequestError: Four numbers of something else, or a box without ground.
    """
    if text is None:
        return None
    west, south, east, north = _four(text, "--bbox", "west,south,east,north")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90 and west != east):
        raise RequestError(f"--bbox {text} holds no ground; give west,south,east,north in degrees")
    return west, south, east, north


def _parse_bounds(text: str | None) -> BBox | None:
    return None if text is None else _four(text, "--bounds", "left,bottom,right,top")


def _four(text: str, option: str, order: str) -> BBox:
    try:
        first, second, third, fourth = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise RequestError(f"{option} {text} is not {order}") from exc
    return first, second, third, fourth
