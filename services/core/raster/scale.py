"""Stored numbers to reflectance: who says how, in what order of trust."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from services.core.raster.sensors import BandCode, Sensor

Source = Literal["file", "item", "sensor", "none"]


@dataclass(frozen=True, slots=True)
class Scale:
    """`value = stored * scale + offset`, and who said so."""

    scale: float
    offset: float
    source: Source


UNKNOWN = Scale(1.0, 0.0, "none")
#: All 13 bands in one file without date or baseline: such stacks are made for training and analysis, without the offset
#: of the agency's newer files. A single band or three are not that plain, and stay UNKNOWN.
SENTINEL_STACK = Scale(1e-4, 0.0, "sensor")
#: From this processing baseline on, Sentinel-2 products carry an offset of -1000.
_OFFSET_BASELINE = 4.0
_OFFSET_FROM = datetime(2022, 1, 25, tzinfo=UTC)
_BASELINE = re.compile(r"_N(\d{2})(\d{2})_")
#: The older names have no baseline but the day of processing, which tells it as well.
_MADE = re.compile(r"S2[A-D]_(?:OPER|USER)_\w*?_((?:19|20)\d{6})T\d{6}")


def sensor_scale(sensor: Sensor | None, code: BandCode | None, dtype: str, *, said: str, at: datetime | None) -> Scale:
    """What the product's own specification says; `UNKNOWN` where that depends on something we were not told.

    Args:
        sensor: Whose band it is.
        code: Its code.
        dtype: Stored type: these rules are for the uint16 that the agencies publish.
        said: File names, which carry Sentinel-2's processing baseline (`_N0400_`) or day of processing.
        at: Acquisition, which stands for the baseline where nothing names it.
    """
    if code is None or dtype != "uint16":
        return UNKNOWN
    if sensor is Sensor.MSI:
        return _sentinel_scale(said, at)
    if sensor in (Sensor.OLI, Sensor.TM) and code.product == "SR":
        return Scale(2.75e-5, -0.2, "sensor")
    if sensor in (Sensor.OLI, Sensor.TM) and code.product == "ST":
        return Scale(0.00341802, 149.0, "sensor")  # kelvin
    return UNKNOWN


def sensor_nodata(sensor: Sensor | None, code: BandCode | None, dtype: str) -> float | None:
    """The fill value agencies publish without saying so in the file: JPEG 2000 cannot."""
    return 0.0 if sensor is not None and code is not None and dtype == "uint16" else None


def _sentinel_scale(said: str, at: datetime | None) -> Scale:
    named, made = _BASELINE.search(said), _MADE.search(said)
    if named is not None:
        later = float(f"{named[1]}.{named[2]}") >= _OFFSET_BASELINE
    elif made is not None:
        later = made[1] >= f"{_OFFSET_FROM:%Y%m%d}"
    elif at is not None:
        later = at >= _OFFSET_FROM
    else:
        return UNKNOWN  # a guess would be wrong by 0.1 reflectance
    return Scale(1e-4, -0.1 if later else 0.0, "sensor")
