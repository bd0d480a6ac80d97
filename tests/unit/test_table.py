"""Listings on terminals of any width: no word is broken, no id cut, and what is shortened shows it."""

import pytest
from rich.cells import cell_len

from services.cli.show import crs_name
from services.cli.table import lay_out, shorten

COLUMNS = ("scene", "pixels", "gsd", "crs", "bands", "acquired")
ROWS = [
    ("s2a-msil1c-20170729t152651-t19udp-fa68a89eb3", "686x686", "160 m", "EPSG:32619", 13, "2017-07-29 15:26"),
    ("nc-l7-2000-6band-28m-d34b85692f", "475x527", "28.5 m", "NAD83 / North Carolina (everything)", 6, "-"),
]
SPARE = ("bands", "gsd", "acquired", "crs")


def test_a_table_is_as_wide_as_it_comes_where_nothing_bounds_it() -> None:
    heading, *lines = lay_out(COLUMNS, ROWS, width=None, spare=SPARE)
    assert heading.split() == list(COLUMNS)
    assert all(str(cell) in line for row, line in zip(ROWS, lines, strict=True) for cell in row)


@pytest.mark.parametrize("width", [120, 100, 80, 60, 50])
def test_a_table_fits_its_terminal_a_line_to_a_row_and_keeps_ids_whole(width: int) -> None:
    heading, *lines = lay_out(COLUMNS, ROWS, width=width, spare=SPARE)
    assert max(map(cell_len, (heading, *lines))) <= width
    assert [line.split()[0] for line in lines] == [row[0] for row in ROWS]
    assert set(heading.split()) <= set(COLUMNS)  # none broken


def test_the_least_needed_column_goes_first_and_one_without_content_before_it() -> None:
    columns, row = ("run", "tiles", "model", "error"), ("r" * 24, 400, "landcover-l7", "")
    assert lay_out(columns, [row], width=48, spare=("tiles",))[0].split() == ["run", "tiles", "model"]
    assert lay_out(columns, [row], width=40, spare=("tiles",))[0].split() == ["run", "model"]


def test_an_id_wider_than_the_terminal_stands_alone_and_whole() -> None:
    assert [line.split() for line in lay_out(COLUMNS, ROWS, width=20)] == [["scene"], [ROWS[0][0]], [ROWS[1][0]]]


def test_a_sentence_goes_on_in_the_next_line_word_by_word() -> None:
    lines = lay_out(("stage", "why"), [("candidate", "0.4 points better on the images of May")], width=40, prose="why")
    assert lines[1:] == ["candidate  0.4 points better on the", "           images of May"]


@pytest.mark.parametrize("text", ["a-scene-with-a-long-name-0a1b2c3d4e", "衛星画像の長い名前の衛星画像", "x" * 17])
@pytest.mark.parametrize("width", range(1, 17))
def test_what_is_shortened_keeps_both_ends_and_says_so(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_len(short) <= width
    assert short.count("…") == 1
    head, tail = short.split("…")
    assert text.startswith(head)
    assert text.endswith(tail)


def test_a_crs_is_called_by_its_code_or_by_the_name_in_its_wkt() -> None:
    assert crs_name("EPSG:32619") == "EPSG:32619"
    wkt = 'PROJCRS["Lambert Conformal Conic",BASEGEOGCRS["NAD83",DATUM["North American Datum 1983"]]]'
    assert crs_name(wkt) == "Lambert Conformal Conic"
