from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import RequestError
from services.core.names import (
    make_run_id,
    parse_run_id,
    prepared_key,
    product_key,
    slug,
    unit_object_key,
    unit_result_key,
)
from services.core.storage.keys import is_key


def test_run_id_is_told_in_utc_whatever_the_zone():
    east = datetime(2026, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert make_run_id(east, b"\xa1\xb2\xc3") == "r-20260102T030405-a1b2c3"


def test_run_ids_sort_by_time():
    times = [datetime(2026, 1, 2, 3, 4, second, tzinfo=UTC) for second in range(5)]
    ids = [make_run_id(moment, bytes(3)) for moment in times]
    assert ids == sorted(ids)


@pytest.mark.parametrize("text", ["../etc", "r-20260102T030405-a1b2c3/..", "", "r-20260102T030405-A1B2C3", "x\n"])
def test_what_is_no_run_id_never_becomes_a_path(text):
    with pytest.raises(RequestError, match="is not a run id"):
        product_key(text, "map.tif")


def test_a_made_run_id_is_a_run_id():
    run_id = make_run_id(datetime.now(UTC), b"\x00\xff\x10")
    assert parse_run_id(run_id) == run_id


def test_unit_keys_spread_over_folders():
    assert unit_object_key("ab" + "0" * 62, "e" * 64) == f"units/ab/ab{'0' * 62}-{'e' * 16}.npz"


def test_only_a_whole_unit_is_recorded_where_later_runs_look():
    key, sha256 = "a" * 64, "e" * 64

    assert unit_result_key(key, sha256, masked=0) == key
    assert unit_result_key(key, sha256, masked=1) not in {key, unit_result_key(key, "f" * 64, masked=1)}


def test_prepared_scene_is_found_by_its_digest():
    assert prepared_key("cd" + "1" * 62) == f"scenes/cd/cd{'1' * 62}/scene.json"


@given(st.text())
def test_a_slug_is_always_a_kubernetes_label(text):
    name = slug(text)
    assert 1 <= len(name) <= 63
    assert name.replace("-", "a").isalnum()
    assert name.isascii()
    assert name == slug(name)
    assert is_key(name)


@pytest.mark.parametrize(("text", "name"), [("Säntis Höhe", "santis-hohe"), ("--A  b--", "a-b"), ("标题", "x")])
def test_slugs_keep_what_can_be_read(text, name):
    assert slug(text) == name
