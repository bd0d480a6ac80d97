"""What satellites call their bands, and the scale of their products: tables and pure rules, no I/O.

`B4` is red on Landsat 8 and near infrared on Landsat 7, so a name alone decides nothing: see `pick_sensor`.

Sources: STAC EO extension 1.1, common band names; Sentinel-2 Products Specification Document 14.9 (quantification,
RADIO_ADD_OFFSET from processing baseline 04.00, NODATA 0); Landsat 8-9 Collection 2 Level 2 Science Product Guide 4.0.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

#: Names with a meaning of their own, whoever uses them.
COMMON_NAMES = frozenset({
    "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075", "rededge078", "nir",
    "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12", "pan",
})  # fmt: skip
#: Those among them that stand for several bands of one sensor.
_VAGUE = ("rededge", "lwir")
#: Other spellings, compared in lower case without blanks, dashes and underscores.
_SPELLINGS = {
    "coastalaerosol": "coastal", "aerosol": "coastal", "ultrablue": "coastal", "panchromatic": "pan",
    "nearinfrared": "nir", "nir1": "nir", "nirnarrow": "nir08", "narrownir": "nir08", "nira": "nir08",
    "watervapor": "nir09", "watervapour": "nir09", "rededge1": "rededge071", "rededge2": "rededge075",
    "rededge3": "rededge078", "re1": "rededge071", "re2": "rededge075", "re3": "rededge078",
    "swir1": "swir16", "swir2": "swir22", "tir1": "lwir11", "tir2": "lwir12", "thermal": "lwir",
}  # fmt: skip


class Sensor(StrEnum):
    """A family of instruments that name their bands alike."""

    MSI = "sentinel-2"
    OLI = "landsat-8/9"
    TM = "landsat-4/5/7"
    MSS = "landsat-4/5-mss"
    MSS_EARLY = "landsat-1/2/3"


#: The sensor's own name, without zero padding, to the common one.
_BANDS: Mapping[Sensor, Mapping[str, str]] = {
    Sensor.MSI: {
        "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge071", "B6": "rededge075",
        "B7": "rededge078", "B8": "nir", "B8A": "nir08", "B9": "nir09", "B10": "cirrus", "B11": "swir16",
        "B12": "swir22",
    },
    Sensor.OLI: {
        "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "nir08", "B6": "swir16", "B7": "swir22",
        "B8": "pan", "B9": "cirrus", "B10": "lwir11", "B11": "lwir12",
    },
    Sensor.TM: {
        "B1": "blue", "B2": "green", "B3": "red", "B4": "nir", "B5": "swir16", "B6": "lwir", "B6_VCID_1": "lwir",
        "B7": "swir22", "B8": "pan",
    },
    Sensor.MSS: {"B1": "green", "B2": "red", "B3": "nir08", "B4": "nir09"},
    Sensor.MSS_EARLY: {"B4": "green", "B5": "red", "B6": "nir08", "B7": "nir09"},
}  # fmt: skip
#: Whose bands may be told from their codes and a date alone; scanners of the old kind say who they are.
_TOLD_BY_CODES = (Sensor.MSI, Sensor.OLI, Sensor.TM)
#: A Landsat has one near infrared band: it answers to both names.
_ALSO = {"nir08": ("nir",), "nir": ("nir08",)}
_LAUNCHED = {
    Sensor.MSI: datetime(2015, 6, 23, tzinfo=UTC),
    Sensor.OLI: datetime(2013, 2, 11, tzinfo=UTC),
    Sensor.TM: datetime(1982, 7, 16, tzinfo=UTC),
}
_ENDED = {Sensor.TM: datetime(2024, 1, 19, tzinfo=UTC)}
_METRES = re.compile(r"_(\d+)m(?![A-Z0-9])", re.IGNORECASE)
_CODE = re.compile(r"(?:^|[^A-Z0-9])(?:(SR|ST)_)?(B0*(\d{1,2})(A|_VCID_[12])?)(?![A-Z0-9])", re.IGNORECASE)
#: With a zero before its number; `B0` is somebody's first band.
_PADDED = re.compile(r"B0+[1-9]")
_LEVEL_1C = re.compile(
    r"(?:^|[^A-Z0-9])S2[A-D]?[-_ ](?:MSI[-_ ]?)?L1C|MSIL1C|sentinel[-_ ]?2.*L(?:evel)?[-_ ]?1C", re.IGNORECASE
)
_START, _STOP = r"(?:^|[^A-Z0-9])", r"(?![A-Z0-9])"
_LATE_SCANNER = rf"{_START}LM0?[45][_\d]"
#: How platform metadata and file names give the sensor away.
_PLATFORMS = tuple(
    (re.compile(pattern, re.IGNORECASE), sensor)
    for pattern, sensor in (
        (
            rf"sentinel[-_ ]?2|{_START}S2[ABC]?{_STOP}|MSIL[12][AC]|HLS[._]S30|{_START}T\d{{2}}[C-X][A-Z]{{2}}_\d{{8}}",
            Sensor.MSI,
        ),
        (rf"landsat[-_ ]?[89]{_STOP}|{_START}L[CO]0?[89][_\d]|{_START}L[89]_|HLS[._]L30", Sensor.OLI),
        (_LATE_SCANNER, Sensor.MSS),
        (rf"landsat[-_ ]?[123]{_STOP}|{_START}LM0?[123][_\d]", Sensor.MSS_EARLY),
        (rf"landsat[-_ ]?[457]{_STOP}|{_START}L[ETM]0?[457][_\d]|{_START}L[457]_", Sensor.TM),
    )
)


@dataclass(frozen=True, slots=True)
class BandCode:
    """A band as its sensor names it."""

    code: str  #: unpadded, upper case: `B4`, `B8A`, `B6_VCID_1`
    written: str  #: as it stands there: `B04`
    product: str  #: `SR` or `ST` where Landsat's Level 2 says so, else empty


def parse_code(text: str) -> BandCode | None:
    """The band code in a description or a file's stem: the last one, since names put it at the end."""
    found = list(_CODE.finditer(text))
    if not found:
        return None
    product, written, number, suffix = found[-1].groups(default="")
    return BandCode(f"B{number}{suffix.upper()}", written.upper(), product.upper())


def common_name(text: str) -> str | None:
    """The common name a text stands for by itself: `Red`, `swir1`, `near infrared`."""
    plain = re.sub(r"[\s_-]+", "", text.casefold())
    if plain in COMMON_NAMES:
        return plain
    return _SPELLINGS.get(plain)


def is_vague(name: str) -> bool:
    """Whether a common name leaves open which band of its sensor is meant."""
    return name.casefold() in _VAGUE


def metres_in_name(name: str) -> int:
    """The pixel size that a file's or asset's name ends in, as in `B02_60m`; 0: none."""
    found = _METRES.search(name)
    return int(found[1]) if found else 0


def pick_sensor(codes: Collection[BandCode], *, said: Iterable[str], acquired_at: datetime | None) -> Sensor | None:
    """Whose band codes these are, or None where that stays open: then codes keep their own names.

    In this order: what platform and file names say; `B04` with a zero or `B8A` is Sentinel-2; `SR_B6` is Landsat 8
    or 9, whose Level 2 alone has it; exactly 1-5 and 7 are the reflective bands of Landsat 4, 5 and 7; `B10` with
    `B11` and neither `B8A` nor `B12` is Landsat 8 or 9; at last, whoever has all these bands and was in orbit then.

    Args:
        codes: Of all the bands of the scene.
        said: Platform, title and file names, the most trusted first.
        acquired_at: When, if known.
    """
    said = tuple(said)
    for text in said:
        for pattern, sensor in _PLATFORMS:
            if pattern.search(text):
                # Landsat 4 and 5 carried both: the platform leaves open what the name of a scene tells.
                scanner = sensor is Sensor.TM and re.search(_LATE_SCANNER, " ".join(said), re.IGNORECASE)
                return Sensor.MSS if scanner else sensor
    have = {code.code for code in codes}
    if any(_PADDED.match(code.written) for code in codes) or have & {"B8A", "B12"}:
        return Sensor.MSI
    if any(code.product == "SR" and code.code == "B6" for code in codes):
        return Sensor.OLI
    if have == {"B1", "B2", "B3", "B4", "B5", "B7"} or any("_VCID_" in code for code in have):
        return Sensor.TM
    if {"B10", "B11"} <= have:
        return Sensor.OLI
    could = [
        sensor for sensor in _TOLD_BY_CODES if have and have <= _BANDS[sensor].keys() and _in_orbit(sensor, acquired_at)
    ]
    return could[0] if len(could) == 1 else None


def implied_codes(said: Iterable[str], dtypes: Sequence[str]) -> tuple[BandCode, ...]:
    """The codes of bands that nobody named, where their number and the product's name leave one answer; else none.

    That is Sentinel-2 Level-1C alone: 13 bands of uint16, in the order of its specification (B8A after B08).

    Args:
        said: Platform, title and file names.
        dtypes: Of all the layers of the one file.
    """
    bands = tuple(_BANDS[Sensor.MSI])
    if list(dtypes) != ["uint16"] * len(bands) or not _LEVEL_1C.search(" ".join(said)):
        return ()
    return tuple(BandCode(code, _padded(code), "") for code in bands)


def _padded(code: str) -> str:
    """`B4` as the agency writes it: `B04`."""
    return f"B0{code[1:]}" if code[1:].isdigit() and len(code) == len("B4") else code


def all_of_sentinel(codes: Collection[BandCode]) -> bool:
    """Whether these are the 13 bands of Sentinel-2's Level-1C, each once."""
    return sorted(code.code for code in codes) == sorted(_BANDS[Sensor.MSI])


def sensor_name(sensor: Sensor, code: BandCode) -> str | None:
    """The common name of a sensor's band."""
    return _BANDS[sensor].get(code.code)


def also_known(sensor: Sensor | None, name: str) -> tuple[str, ...]:
    """Further names a band answers to."""
    return _ALSO.get(name, ()) if sensor in (Sensor.OLI, Sensor.TM) else ()


def _in_orbit(sensor: Sensor, at: datetime | None) -> bool:
    return at is None or (_LAUNCHED[sensor] <= at and (sensor not in _ENDED or at <= _ENDED[sensor]))
