"""Acquisition times: many spellings, one aware UTC."""

from datetime import UTC, datetime

import pytest

from services.core.raster.dates import parse_time, resolve_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017:08:13 15:54:15", datetime(2017, 8, 13, 15, 54, 15, tzinfo=UTC)),
        ("2013-08-05T10:42:19.4Z", datetime(2013, 8, 5, 10, 42, 19, 400_000, tzinfo=UTC)),
        ("2017-08-13T17:54:15+02:00", datetime(2017, 8, 13, 15, 54, 15, tzinfo=UTC)),
        ("2017-08-13", datetime(2017, 8, 13, tzinfo=UTC)),
        ("2017:08:13", datetime(2017, 8, 13, tzinfo=UTC)),
        ("2017:08:13 15:54:15\x00", datetime(2017, 8, 13, 15, 54, 15, tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("0000:00:00 00:00:00", None),
        ("", None),
        (None, None),
    ],
)
def test_every_spelling_becomes_aware_utc(text: str | None, expected: datetime | None) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("name", "tags", "imagery", "expected"),
    [
        ("T19UDP_20170729T153551_B04.jp2", {}, {}, datetime(2017, 7, 29, 15, 35, 51, tzinfo=UTC)),
        ("LC08_L2SP_016037_20170813_20200903_02_T1_SR_B4.TIF", {}, {}, datetime(2017, 8, 13, tzinfo=UTC)),
        ("LC80160372017225LGN00_B4.TIF", {}, {}, datetime(2017, 8, 13, tzinfo=UTC)),
        ("HLS.S30.T19UDP.2020209T155956.v2.0.B04.tif", {}, {}, datetime(2020, 7, 27, 15, 59, 56, tzinfo=UTC)),
        # Same day: the tag knows the time of day. Another day: it is when the file was made.
        (
            "L8_20170813.tif",
            {"TIFFTAG_DATETIME": "2017:08:13 15:54:15"},
            {},
            datetime(2017, 8, 13, 15, 54, 15, tzinfo=UTC),
        ),
        ("L8_20170813.tif", {"TIFFTAG_DATETIME": "2024:01:01 09:00:00"}, {}, datetime(2017, 8, 13, tzinfo=UTC)),
        ("x.tif", {"TIFFTAG_DATETIME": "2024:01:01 09:00:00"}, {}, datetime(2024, 1, 1, 9, tzinfo=UTC)),
        (
            "x_20170813.tif",
            {},
            {"ACQUISITIONDATETIME": "2016-01-02T03:04:05Z"},
            datetime(2016, 1, 2, 3, 4, 5, tzinfo=UTC),
        ),
        (
            "LM05_L1TP_024032_19920730_20180217_01_T1_B1.TIF",
            {},
            {"ACQUISITIONDATETIME": "1970-01-01 00:00:00"},  # GDAL could not read what the MTL says
            datetime(1992, 7, 30, tzinfo=UTC),
        ),
        ("S2A_OPER_MSI_L1C_TL_EPA__20161011T103026_A000634_T32TQM_B02.jp2", {}, {}, None),  # when it was made
        (
            "S2A_OPER_PRD_MSIL1C_PDMC_20161011T121503_R022_V20150813T101026_20150813T101026",
            {},
            {},
            datetime(2015, 8, 13, 10, 10, 26, tzinfo=UTC),
        ),
        ("x_20179999.tif", {}, {}, None),
        ("PHR1B_P_201709281038393_SEN.tif", {}, {}, None),
    ],
)
def test_the_most_trusted_time_wins(
    name: str, tags: dict[str, str], imagery: dict[str, str], expected: datetime | None
) -> None:
    assert resolve_time(name, tags, imagery) == expected
