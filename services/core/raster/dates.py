"""When a scene was taken: the many ways in which files write it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

_NAME_TIME = re.compile(r"(?<!\d)((?:19|20)\d{6})T(\d{6})(?!\d)")
_NAME_DATE = re.compile(r"(?<!\d)((?:19|20)\d{6})(?!\d)")
_LANDSAT_OLD = re.compile(r"L[COETM]\d{7}(\d{4})(\d{3})[A-Z]{3}\d{2}")  # LC80160372017225LGN00: year and day of year
_HLS = re.compile(r"\.((?:19|20)\d{2}\d{3})T(\d{6})\.")  # HLS.S30.T19UDP.2020209T155956.v2.0: day of year again
#: Sentinel-2 before December 2016: a file's own time is when it was made, and the product's folder has the sensing.
_MADE = re.compile(r"S2[A-D]_(?:OPER|USER)_")
_SENSED = re.compile(r"S2[A-D]_(?:OPER|USER)_\w*?_[SV]((?:19|20)\d{6})T(\d{6})(?!\d)")
#: What GDAL makes of a Landsat time that it cannot read; nothing imaged the Earth then.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMATS = ("%Y:%m:%d %H:%M:%S", "%Y:%m:%d", "%Y/%m/%d %H:%M:%S", "%Y%m%d %H:%M:%S", "%a %b %d %H:%M:%S %Y")


def parse_time(text: str | None) -> datetime | None:
    """Aware UTC from ISO 8601, TIFF's `2017:08:13 15:54:15` and its relatives; without a zone UTC is meant."""
    if not text:
        return None
    text = text.strip().strip("\x00")
    try:
        return _aware(datetime.fromisoformat(text))
    except (ValueError, OverflowError):  # in UTC it may be the year 0 or 10000
        pass
    for pattern in _FORMATS:
        try:
            return _aware(datetime.strptime(text, pattern))  # noqa: DTZ007  # made aware in the same line
        except ValueError:
            continue
    return None


def time_in_name(name: str) -> tuple[datetime | None, bool]:
    """The first time or date in a file's name, and whether it has the time of day."""
    if _MADE.search(name):
        at = sensing_time(name)
        return at, at is not None
    exact = _NAME_TIME.search(name)
    if exact is not None and (at := _compact(exact[1] + exact[2], "%Y%m%d%H%M%S")):
        return at, True
    hls = _HLS.search(name)
    if hls is not None and (at := _compact(hls[1] + hls[2], "%Y%j%H%M%S")):
        return at, True
    old = _LANDSAT_OLD.search(name)
    if old is not None and (at := _compact(old[1] + old[2], "%Y%j")):
        return at, False
    for date in _NAME_DATE.finditer(name):
        if at := _compact(date[1], "%Y%m%d"):
            return at, False
    return None, False


def sensing_time(text: str) -> datetime | None:
    """When Sentinel-2 sensed a product of the older kind that a text names: `S2A_OPER_PRD_..._V20150813T101026_...`."""
    sensed = _SENSED.search(text)
    return _compact(sensed[1] + sensed[2], "%Y%m%d%H%M%S") if sensed else None


def resolve_time(name: str, tags: Mapping[str, str], imagery: Mapping[str, str]) -> datetime | None:
    """Acquisition time of one file, by what can be trusted most.

    GDAL's IMAGERY metadata; a name with the time of day; TIFF's DateTime, unless the name has another day, since many
    programs write there when the file was made; the day in the name.

    Args:
        name: The file's.
        tags: Of the dataset.
        imagery: GDAL's IMAGERY domain.
    """
    for text in (imagery.get("ACQUISITIONDATETIME"), tags.get("ACQUISITIONDATETIME")):
        known = parse_time(text)
        if known is not None and known != _EPOCH:
            return known
    named, exact = time_in_name(name)
    if exact:
        return named
    tagged = parse_time(tags.get("TIFFTAG_DATETIME"))
    if tagged is not None and (named is None or tagged.date() == named.date()):
        return tagged
    return named


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _compact(digits: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(digits, pattern).replace(tzinfo=UTC)
    except ValueError:
        return None
