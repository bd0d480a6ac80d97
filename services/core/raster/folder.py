"""The bands of a product folder, told from its file names: Sentinel-2 .SAFE, Landsat, or anything named alike."""

import re
from collections.abc import Iterator
from pathlib import Path

from services.core.errors import ObjectNotFoundError, StorageRefusedError, UnreadableSceneError
from services.core.raster.sensors import Sensor, metres_in_name, parse_code, pick_sensor

_SUFFIXES = {".tif", ".tiff", ".jp2"}
_DEPTH = 5  #: GRANULE/L2A_T32TLR_.../IMG_DATA/R10m/x.jp2
#: Quality layers, previews and by-products, which also lie there.
_SKIP = re.compile(
    r"(?:^|[^A-Z0-9])(QA|BQA|SCL|TCI|MSK|AOT|WVP|PVI|CLD|CLDPRB|SNW|SNWPRB|DEM|mask|preview|thumb\w*|browse|"
    r"QUALITY|DETFOO|CLASSI|SAA|SZA|VAA|VZA|EMIS|EMSD|ATRAN|CDIST|DRAD|TRAD|URAD)(?![A-Z0-9])",
    re.IGNORECASE,
)


def scan_folder(folder: Path) -> tuple[Path, ...]:
    """The files to read, one per band, in the order of their names; of one band in several resolutions the finest.

    A Landsat's panchromatic band is left out: its grid is not a fraction of the others'. Name it with --band if needed.

    Raises:
        UnreadableSceneError: No raster there, names that do not tell the bands, or more than one scene.
    """
    rasters = sorted(_rasters(folder))
    coded = {path: code for path in rasters if (code := parse_code(path.stem)) is not None}
    if not coded:
        return _only_one(folder, rasters)
    sensor = pick_sensor(coded.values(), said=[folder.name, *(path.name for path in coded)], acquired_at=None)
    finest: dict[str, Path] = {}
    for path, code in coded.items():
        if code.code == "B8" and sensor in (Sensor.OLI, Sensor.TM):
            continue
        key = f"{code.product}{code.code}"
        if key in finest and metres_in_name(path.stem) == metres_in_name(finest[key].stem):
            raise UnreadableSceneError(
                f"{folder} holds more than one {code.written}: {finest[key].name} and {path.name}; "
                "give each scene a folder of its own, or name the files"
            )
        if key not in finest or metres_in_name(path.stem) < metres_in_name(finest[key].stem):
            finest[key] = path
    return tuple(sorted(finest.values(), key=lambda path: _order(coded[path].code)))


def _only_one(folder: Path, rasters: list[Path]) -> tuple[Path, ...]:
    if len(rasters) == 1:
        return tuple(rasters)
    if not rasters:
        raise UnreadableSceneError(f"{folder} holds no GeoTIFF or JPEG 2000 with measurements; name the scene's files")
    raise UnreadableSceneError(
        f"the names of the {len(rasters)} rasters in {folder} do not tell their bands; name them with --band NAME=FILE"
    )


def _rasters(folder: Path) -> Iterator[Path]:
    try:
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if path.suffix.lower() not in _SUFFIXES or len(inside.parts) > _DEPTH or not path.is_file():
                continue
            if any(part.startswith(".") or part == "QI_DATA" for part in inside.parts) or _SKIP.search(path.stem):
                continue
            yield path
    except PermissionError as exc:
        raise StorageRefusedError(f"{folder} may not be listed by this user; change its permissions") from exc
    except OSError as exc:
        raise ObjectNotFoundError(f"{folder} cannot be listed ({exc.strerror}); check the path") from exc


def _order(code: str) -> tuple[int, str]:
    """B1, B2, ... B8, B8A, B9, ... as numbers."""
    number = re.search(r"\d+", code)
    return (int(number[0]) if number else 0, code)
