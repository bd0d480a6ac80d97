"""Reflectance to the 8-bit pictures that a network was trained on."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from pydantic import ValidationError

from services.core.errors import BandMismatchError, ContractError
from services.core.model.contract import Contract, ModelClass, Remedies, Rendering
from services.core.model.mlm import ModelFacts, build_item, parse_item
from services.core.model.preprocess import Pixels, normalise, plan_normalisation
from services.core.raster.open import OpenOptions, open_scene
from services.core.records import Band
from tests.scenes import Look, write_scene

S2 = "S2_L1C_T19UDP_20170729_13band_160m.tif"
CODES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


def contract(**changes: object) -> Contract:
    values = {
        "name": "pictures",
        "kind": "classification",
        "bands": ("red", "green", "blue"),
        "units": "dn",
        "dtypes": ("uint8",),
        "rendering": Rendering(),
        "mean": (100.0, 110.0, 120.0),
        "std": (40.0, 30.0, 20.0),
        "gsd_m": (8.0, 12.0),
        "chip_px": 64,
        "stride_px": 64,
        "classes": tuple(ModelClass(value=v, name=n, color="#102030") for v, n in enumerate("ab")),
    }
    return Contract.model_validate({**values, **changes})


def band(dtype: str, *, scale: float = 1.0, offset: float = 0.0) -> Band:
    return Band(name="red", asset=0, bidx=1, dtype=dtype, scale=scale, offset=offset)


def levels(values: list[float], *bands: Band) -> list[float]:
    """What the network is told a band's pixels are, mean and std taken back out."""
    model = contract(bands=tuple("abc"[: len(bands)]), mean=(0.0,) * len(bands), std=(1.0,) * len(bands))
    pixels: Pixels = np.array([[values]] * len(bands), np.float32)
    drawn: list[float] = normalise(pixels, None, plan_normalisation(model, bands))[0, 0].tolist()
    return drawn


def test_sentinel_numbers_become_the_levels_eurosat_was_made_with() -> None:
    drawn = levels([0, 5, 6, 1375, 2744, 2750, 12000], band("uint16", scale=1e-4))
    assert drawn == [1, 1, 2, 128, 254, 255, 255]


def test_the_offset_of_newer_sentinel_files_is_taken_off_first() -> None:
    drawn = levels([1000, 2375, 3750, 100], band("uint16", scale=1e-4, offset=-0.1))
    assert drawn == [1, 128, 255, 1]


def test_reflectance_in_floats_is_drawn_too() -> None:
    assert levels([0.0, 0.1375, 0.275, 3.0], band("float32")) == [1, 128, 255, 255]


def test_stored_pictures_pass_as_they_are() -> None:
    assert levels([0, 1, 77, 255], band("uint8")) == [0, 1, 77, 255]


def test_a_picture_beside_a_raw_band_passes_as_it_is() -> None:
    assert levels([0, 77, 255], band("uint8"), band("uint16", scale=1e-4)) == [0, 77, 255]


def test_on_the_way_to_another_place_the_numbers_are_the_same_and_the_first_ones_stay() -> None:
    model, bands = contract(bands=("red",), mean=(100.0,), std=(50.0,)), [band("uint16", scale=1e-4)]
    norm, valid = plan_normalisation(model, bands), np.array([[True, True, False]])
    stored: Pixels = np.array([[[1375, 2750, 9]]], np.float32)
    before, there = stored.copy(), np.empty_like(stored)

    assert normalise(stored, valid, norm, out=there) is there

    np.testing.assert_array_equal(stored, before)
    np.testing.assert_array_equal(there, normalise(stored.copy(), valid, norm))


def test_every_level_survives_the_way_through_sentinel_numbers() -> None:
    stored = [round((level - 1) / 254 * 2750) for level in range(1, 256)]
    assert levels([float(dn) for dn in stored], band("uint16", scale=1e-4)) == list(range(1, 256))


def test_what_is_not_valid_is_the_mean_after_drawing_as_well() -> None:
    norm = plan_normalisation(contract(), [band("uint16", scale=1e-4)] * 3)
    pixels = normalise(np.zeros((3, 1, 2), np.float32), np.array([[True, False]]), norm)
    assert pixels[:, 0, 1].tolist() == [0, 0, 0]
    assert pixels[:, 0, 0].tolist() == pytest.approx([-99 / 40, -109 / 30, -119 / 20])


def test_a_raw_band_that_does_not_say_its_scale_is_refused(tmp_path: Path) -> None:
    scene = open_scene([str(write_scene(tmp_path / "raw.tif", Look(names=("red", "green", "blue"))))])
    with pytest.raises(ContractError, match="says nothing about its scale"):
        contract().pick_bands(scene)


def test_model_json_carries_the_rendering_and_gives_it_back() -> None:
    item = build_item(contract(), ModelFacts(description="d", architecture="a"))
    assert parse_item(item).rendering == Rendering()
    told = item["properties"]["mlm:input"][0]["pre_processing_function"]
    assert told["expression"] == "numpy.clip(numpy.rint(1 + (A - 0.0) / 0.275 * 254), 1, 255)"


@pytest.mark.parametrize(
    "change",
    [
        {"rendering": {"reflectance": (0.3, 0.1)}},
        {"rendering": {"levels": (1, 256)}},
        {"rendering": {"levels": (9, 9)}},
        {"dtypes": ()},
        {"units": "reflectance"},
        {"stride_px": 24},
    ],
)
def test_a_contract_that_makes_no_picture_or_no_grid_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        contract(**change)


def stack(path: Path, *, names: tuple[str, ...] | None = None) -> Path:
    """Thirteen bands of uint16, without names unless they are given."""
    pixels = np.full((13, 64, 64), 900, np.uint16)
    return write_scene(path, Look(names=names or (), shape=(64, 64)), pixels=pixels)


def test_a_level_1c_file_without_band_names_is_known_by_its_own_name(tmp_path: Path) -> None:
    scene = open_scene([str(stack(tmp_path / "S2A_MSIL1C_20170729T153551_N0205_R068_T19UDP.tif"))])
    bands = contract().pick_bands(scene)
    assert [(b.name, b.alias, b.bidx, b.scale) for b in bands] == [
        ("red", "B04", 4, 1e-4),
        ("green", "B03", 3, 1e-4),
        ("blue", "B02", 2, 1e-4),
    ]
    assert scene.bands[8].alias == "B8A"


def test_thirteen_bands_that_nothing_names_are_refused_with_the_way_out(tmp_path: Path) -> None:
    scene = open_scene([str(stack(tmp_path / "thing.tif"))])
    with pytest.raises(BandMismatchError, match="--band"):
        contract().pick_bands(scene)


def test_a_whole_sentinel_stack_without_a_date_has_the_scale_of_such_stacks(tmp_path: Path) -> None:
    scene = open_scene([str(stack(tmp_path / "thing.tif", names=CODES))])
    assert [(b.scale, b.offset) for b in contract().pick_bands(scene)] == [(1e-4, 0.0)] * 3


def test_thirteen_files_without_a_date_keep_their_scale_to_themselves(tmp_path: Path) -> None:
    one = np.full((1, 64, 64), 900, np.uint16)
    for code in CODES:
        write_scene(tmp_path / "granule" / f"T19UDP_{code}.tif", Look(names=(), shape=(64, 64)), pixels=one)
    with pytest.raises(ContractError, match="says nothing about its scale"):
        contract().pick_bands(open_scene([str(tmp_path / "granule")]))


def test_the_users_band_names_stand_in_for_the_files(tmp_path: Path) -> None:
    scene = open_scene([str(stack(tmp_path / "thing.tif"))], options=OpenOptions(names=CODES))
    assert [b.bidx for b in contract().pick_bands(scene)] == [4, 3, 2]


def test_a_product_uri_in_the_tags_dates_a_stack(tmp_path: Path) -> None:
    path = stack(tmp_path / "thing.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(PRODUCT_URI="S2B_MSIL1C_20230729T153551_N0509_R068_T19UDP_20230729T190012.SAFE")
    assert {(b.scale, b.offset) for b in contract().pick_bands(open_scene([str(path)]))} == {(1e-4, -0.1)}


@pytest.mark.data
def test_the_real_level_1c_scene_is_understood_but_for_its_coarse_pixels(data_dir: Path) -> None:
    scene = open_scene([str(data_dir / "scenes" / S2)])
    with pytest.raises(ContractError, match=r"159\.\d+ m pixels.*--gsd"):
        contract().pick_bands(scene)
    bands = contract().pick_bands(scene, gsd_m=10.0)
    assert [(b.alias, b.scale, b.nodata) for b in bands] == [("B04", 1e-4, 0), ("B03", 1e-4, 0), ("B02", 1e-4, 0)]


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        (float("nan"), 0.0),
        (0.0, 0.0),
        (-1.0, 0.0),
        (1e300, 0.0),
        (float("inf"), 0.0),
        (1e-4, float("nan")),
        (1.0, -1e308),
    ],
)
def test_a_scale_that_is_no_positive_number_is_refused_by_the_bands_name(tmp_path: Path, scale, offset) -> None:
    path = write_scene(tmp_path / "raw.tif", Look(names=("red", "green", "blue")))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (1e-4, scale, 1e-4), (0.0, offset, 0.0)
    with pytest.raises(ContractError, match="band green of raw says its scale is"):
        contract(gsd_m=None).pick_bands(open_scene([str(path)]))


def test_a_scale_that_nobody_uses_is_not_looked_at(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "drawn.tif", Look(names=("red", "green", "blue"), dtype="uint8"))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.0,) * 3
    assert len(contract(gsd_m=None).pick_bands(open_scene([str(path)]))) == 3


@pytest.mark.parametrize(
    "changes",
    [{"bands": ("nir", "green", "blue")}, {"gsd_m": (1.0, 2.0)}, {"dtypes": ("int8",), "rendering": None}, {}],
)
def test_a_refusal_is_one_sentence_in_the_callers_words(tmp_path: Path, changes) -> None:
    scene = open_scene([str(write_scene(tmp_path / "raw.tif", Look(names=("red", "green", "blue"))))])
    ours = Remedies(bands="do this", dtype="do this", scale="do this", gsd="do this")
    if "gsd_m" in changes:
        changes = {**changes, "dtypes": ("uint16",), "rendering": None}
    with pytest.raises((BandMismatchError, ContractError), match=r"^[^;]*; do this$"):
        contract(**changes).pick_bands(scene, remedies=ours)
