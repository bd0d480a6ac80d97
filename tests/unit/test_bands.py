"""Band names and scales: the tables that decide what `B4` means."""

from datetime import UTC, datetime

import pytest

from services.core.raster.scale import sensor_nodata, sensor_scale
from services.core.raster.sensors import BandCode, Sensor, common_name, parse_code, pick_sensor, sensor_name


def codes(text: str) -> list[BandCode]:
    return [code for word in text.split() if (code := parse_code(word)) is not None]


@pytest.mark.parametrize(
    ("text", "code", "product"),
    [
        ("T19UDP_20170729T153551_B04_10m", "B4", ""),
        ("T19UDP_20170729T153551_B8A", "B8A", ""),
        ("LC08_L2SP_016037_20170813_20200903_02_T1_SR_B4", "B4", "SR"),
        ("LC08_L2SP_016037_20170813_20200903_02_T1_ST_B10", "B10", "ST"),
        ("LE07_L1TP_016037_20000331_20200918_02_T1_B6_VCID_2", "B6_VCID_2", ""),
        ("b11", "B11", ""),
    ],
)
def test_the_last_band_code_of_a_name_counts(text: str, code: str, product: str) -> None:
    found = parse_code(text)
    assert found is not None
    assert (found.code, found.product) == (code, product)


@pytest.mark.parametrize("text", ["RGB.byte", "mosaic_cog1", "NC_L7_2000_6band_28m", "TAB12", "B123", "AB4", ""])
def test_what_only_looks_like_a_band_code_is_none(text: str) -> None:
    assert parse_code(text) is None


@pytest.mark.parametrize(
    ("bands", "said", "year", "sensor"),
    [
        ("B04 B03 B02", "", None, Sensor.MSI),  # zero in front
        ("B4 B8A", "", None, Sensor.MSI),
        ("B2 B3 B4 B8", "S2A_MSIL1C_20170729", None, Sensor.MSI),
        ("B2 B3 B4", "T19UDP_20170729T153551_B2.jp2", None, Sensor.MSI),
        ("B2 B3 B4", "sentinel-2b", None, Sensor.MSI),
        ("B04 B05", "HLS.L30.T19UDP.2021001T000000.v2.0", None, Sensor.OLI),
        ("B2 B3 B4", "landsat-8", None, Sensor.OLI),
        ("B2 B3 B4", "LC80160372017225LGN00", None, Sensor.OLI),
        ("B2 B3 B4", "LE07_L1TP_016037", None, Sensor.TM),
        ("B2 B3 B4", "NC_L7_2000_6band", None, Sensor.TM),
        ("B1 B2 B3 B4", "LM05_L1TP_016037_19850813", None, Sensor.MSS),
        ("B1 B2 B3 B4", "LANDSAT_5|LM05_L1TP_016037_19850813", None, Sensor.MSS),
        ("B1 B2 B3 B4", "LANDSAT_5|LT05_L1TP_016037_19850813", None, Sensor.TM),
        ("B4 B5 B6 B7", "LM03_L1GS_016037_19800813", None, Sensor.MSS_EARLY),
        ("B4 B5 B6 B7", "landsat-2", None, Sensor.MSS_EARLY),
        ("SR_B4 SR_B6", "", None, Sensor.OLI),  # Landsat 4-7 have no SR_B6
        ("SR_B4 ST_B6", "", None, None),  # but the temperature is their sixth
        ("B1 B2 B3 B4 B5 B7", "", None, Sensor.TM),
        ("B1 B2 B3 B4 B5 B6 B7 B9 B10 B11", "", None, Sensor.OLI),
        ("B2 B3 B4", "", 1999, Sensor.TM),  # nobody else was in orbit
        ("B2 B3 B4", "", 2020, None),  # three candidates
        ("B1 B2 B3", "", None, None),
        ("B0 B1 B2 B3", "", None, None),  # somebody counts from zero
        ("B1 B2 B3 B4 B5 B6 B7", "", 2014, None),  # Landsat 7 or 8
    ],
)
def test_a_sensor_is_decided_by_evidence_or_not_at_all(
    bands: str, said: str, year: int | None, sensor: Sensor | None
) -> None:
    at = None if year is None else datetime(year, 6, 1, tzinfo=UTC)
    assert pick_sensor(codes(bands), said=said.split("|"), acquired_at=at) is sensor


def test_b4_is_red_or_near_infrared_depending_on_the_satellite() -> None:
    b4 = BandCode("B4", "B4", "")
    names = {sensor: sensor_name(sensor, b4) for sensor in Sensor}
    scanners = {Sensor.MSS: "nir09", Sensor.MSS_EARLY: "green"}
    assert names == {Sensor.MSI: "red", Sensor.OLI: "red", Sensor.TM: "nir"} | scanners


@pytest.mark.parametrize(
    ("text", "name"),
    [("Red", "red"), ("SWIR 1", "swir16"), ("near infrared", "nir"), ("Red_Edge-2", "rededge075"), ("IR-9680", None)],
)
def test_common_names_are_known_in_other_spellings(text: str, name: str | None) -> None:
    assert common_name(text) == name


@pytest.mark.parametrize(
    ("sensor", "code", "dtype", "said", "year", "expected"),
    [
        (Sensor.MSI, "B04", "uint16", "", 2017, (1e-4, 0.0, "sensor")),
        (Sensor.MSI, "B04", "uint16", "", 2023, (1e-4, -0.1, "sensor")),
        (Sensor.MSI, "B04", "uint16", "S2A_MSIL2A_20170729T153551_N0500_R068", 2017, (1e-4, -0.1, "sensor")),
        (Sensor.MSI, "B04", "uint16", "S2A_MSIL2A_20220301T153551_N0301_R068", 2022, (1e-4, 0.0, "sensor")),
        (Sensor.MSI, "B04", "uint16", "S2A_OPER_MSI_L1C_TL_EPA__20161011T103026_A000634", None, (1e-4, 0.0, "sensor")),
        (Sensor.MSI, "B04", "uint16", "S2A_OPER_MSI_L1C_TL_2APS_20230105T201055_A000634", 2017, (1e-4, -0.1, "sensor")),
        (Sensor.MSI, "B04", "uint16", "", None, (1.0, 0.0, "none")),  # baseline unknown: 0.1 may be missing
        (Sensor.MSI, "B04", "uint8", "", 2017, (1.0, 0.0, "none")),
        (Sensor.OLI, "SR_B4", "uint16", "", 2020, (2.75e-5, -0.2, "sensor")),
        (Sensor.OLI, "ST_B10", "uint16", "", 2020, (0.00341802, 149.0, "sensor")),
        (Sensor.OLI, "B4", "uint16", "", 2020, (1.0, 0.0, "none")),  # raw counts
        (Sensor.TM, "B4", "uint8", "", 2000, (1.0, 0.0, "none")),
    ],
)
def test_sensor_scale_is_a_rule_of_the_product_or_unknown(
    sensor: Sensor, code: str, dtype: str, said: str, year: int | None, expected: tuple[float, float, str]
) -> None:
    at = None if year is None else datetime(year, 6, 1, tzinfo=UTC)
    scale = sensor_scale(sensor, parse_code(code), dtype, said=said, at=at)
    assert (scale.scale, scale.offset, scale.source) == expected


def test_sentinel_offset_starts_on_the_day_of_baseline_4() -> None:
    b4 = parse_code("B04")
    days = [datetime(2022, 1, day, tzinfo=UTC) for day in (24, 25)]
    offsets = [sensor_scale(Sensor.MSI, b4, "uint16", said="", at=day).offset for day in days]
    assert offsets == [0.0, -0.1]


def test_agencies_fill_with_zero_and_strangers_do_not() -> None:
    b4 = parse_code("B04")
    assert sensor_nodata(Sensor.MSI, b4, "uint16") == 0.0
    assert sensor_nodata(None, b4, "uint16") is None
    assert sensor_nodata(Sensor.TM, b4, "uint8") is None
