"""What the user named as scenes, parsed; one scene per argument, or one scene from several --band files."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.boxes import parse_bounds
from services.core.errors import RequestError
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
    options = OpenOptions(bands=files, names=names, crs=crs, bounds=parse_bounds(bounds))
    if files:
        if scenes:
            raise RequestError("give either scenes or --band files, not both")
        return [SceneSource((), options)]
    if not scenes:
        raise RequestError("no scene given; name a file, a folder, an s3:// object or a STAC item")
    return [SceneSource((scene,), options) for scene in scenes]
